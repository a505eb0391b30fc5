// Norms and clipping of gradients, whole or cut over ranks, without stopping for the device.
#pragma once

#include <optional>
#include <string>

#include <ATen/core/Tensor.h>

namespace torch::optim {
class Optimizer;
}

namespace fabric {

class Strategy;

/// How Fabric::clip_gradients clips: by the norm of all gradients together, or each element.
struct ClipOptions {
  std::optional<double>
      max_norm{};  ///< > 0: gradients are scaled so that their norm is at most this
  std::optional<double> clip_val{};  ///< > 0: each element is limited to [-clip_val, clip_val]
  double norm_type = 2;              ///< p of the p-norm, > 0; infinity for the largest element
  /// Whether a norm that is infinite or NaN throws. Reading it makes the host wait for the device.
  bool error_if_nonfinite = false;
};

namespace detail {

/// The p-norm of all gradients of an optimizer's parameters together, 0-dim on their device, the
/// same on all ranks. Collective where gradients are cut over ranks.
at::Tensor gradient_norm(Strategy& strategy, torch::optim::Optimizer& optimizer, double norm_type);

/// Clips in place; returns the norm before.
/// @param label what texts call the model
at::Tensor clip_gradients(Strategy& strategy, const std::string& label,
                          torch::optim::Optimizer& optimizer, const ClipOptions& options);

/// @param call what the text names ("clip_gradients")
/// @throws MisconfigurationError for a p that makes no norm
void check_norm_type(const char* call, double norm_type);

/// The largest of each of the values over the ranks that hold the other parts; NaN where one is.
at::Tensor largest_over_shards(Strategy& strategy, const at::Tensor& values);

}  // namespace detail
}  // namespace fabric
