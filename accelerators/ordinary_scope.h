// Ordinary tensors, whatever mode the caller is in.
#pragma once

#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>

namespace fabric {

/// Tensors made while one lives are ordinary ones, and no graph records what happens to them, also
/// inside a user's InferenceMode. The order matters: leaving inference mode turns gradients on.
struct OrdinaryScope {
  c10::InferenceMode ordinary{false};
  at::NoGradGuard no_grad;
};

}  // namespace fabric
