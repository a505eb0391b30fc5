// What the parts of a checkpoint do with tensors' bytes.
#pragma once

#include <ATen/core/Tensor.h>

#include <fabric/checkpoint/stored_tensor.h>

namespace fabric::detail {

/// @throws CheckpointError for a tensor that no file can hold
void check_strided(const at::Tensor& tensor);

/// Gathers bytes while it lives, where they have to be. Collective there.
class GatheredScope {
 public:
  explicit GatheredScope(const TensorBytes& bytes) : group_(bytes.group()) {
    if (group_ != nullptr) {
      group_->gather();
    }
  }
  ~GatheredScope() {
    if (group_ != nullptr) {
      group_->release();
    }
  }
  GatheredScope(const GatheredScope&) = delete;
  GatheredScope& operator=(const GatheredScope&) = delete;

 private:
  GatherGroup* group_;
};

}  // namespace fabric::detail
