// Toggle: gradients for the parameters of one optimizer only, while it lives.
#pragma once

#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

namespace fabric {

namespace detail {
struct ModelCore;
}

/// See Fabric::toggle.
class [[nodiscard("parameters are frozen only while the guard lives: auto turn = …")]] Toggle {
 public:
  /// @param models whose parameters are taken gradients from
  /// @param own parameters that keep theirs
  Toggle(const std::vector<std::shared_ptr<detail::ModelCore>>& models,
         const std::vector<at::Tensor>& own);
  ~Toggle();
  Toggle(const Toggle&) = delete;
  Toggle& operator=(const Toggle&) = delete;

 private:
  std::vector<at::Tensor> frozen_;
  std::vector<at::Tensor> thawed_;
};

}  // namespace fabric
