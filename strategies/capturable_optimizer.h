// What a captured step asks of an optimizer: whether its step can be replayed without the host.
#pragma once

#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace fabric {

/// A base of optimizers whose step can be recorded (see Fabric::capture): everything that changes
/// from step to step lies in tensors on the device, the learning rate and counts included.
class CapturableOptimizer {
 public:
  virtual ~CapturableOptimizer() = default;

  /// Why a step cannot be recorded as things are ("group 0 has its learning rate on the host"), or
  /// nothing.
  virtual std::string obstacle_to_capture() = 0;
  /// What a step reads and writes, besides gradients; defined tensors only.
  virtual std::vector<at::Tensor> tensors_in_use() = 0;
};

}  // namespace fabric
