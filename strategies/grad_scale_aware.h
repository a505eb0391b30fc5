// What a loss scaler asks of an optimizer that can undo the scale itself, without waiting for the
// device.
#pragma once

#include <ATen/core/Tensor.h>

namespace fabric {

/// A base of optimizers that unscale gradients while they update, and skip an update on the device.
class GradScaleAware {
 public:
  virtual ~GradScaleAware() = default;

  /// For the next step only.
  /// @param grad_scale what gradients were multiplied with: a float tensor of one element, or
  ///        undefined for 1. What `.grad` holds after the step is unspecified.
  /// @param found_inf a float tensor of one element, or undefined for 0. Where it is 1 the step
  ///        changes neither parameters nor state, and does not count.
  virtual void set_grad_scale(const at::Tensor& grad_scale, const at::Tensor& found_inf) = 0;
};

}  // namespace fabric
