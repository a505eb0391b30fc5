#include <fabric/clip_gradients.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <ATen/ATen.h>
#include <torch/optim/optimizer.h>

#include <accelerators/error.h>
#include <strategies/strategy.h>

namespace fabric::detail {
namespace {

struct Gradients {
  std::vector<at::Tensor> shards;  // whose other parts lie on other ranks
  std::vector<at::Tensor> whole;
};

Gradients gradients_of(const Strategy& strategy, torch::optim::Optimizer& optimizer) {
  Gradients gradients;
  for (const auto& group : optimizer.param_groups()) {
    for (const at::Tensor& parameter : group.params()) {
      if (parameter.grad().defined()) {
        (strategy.is_shard(parameter) ? gradients.shards : gradients.whole)
            .push_back(parameter.grad());
      }
    }
  }
  return gradients;
}

bool any_double(const std::vector<at::Tensor>& tensors) {
  return std::any_of(tensors.begin(), tensors.end(),
                     [](const at::Tensor& tensor) { return tensor.scalar_type() == at::kDouble; });
}

// Sum of |x|^p over all elements, or their largest for infinity; 0-dim.
at::Tensor accumulate_power(const std::vector<at::Tensor>& gradients, double norm_type,
                            at::TensorOptions options) {
  std::vector<at::Tensor> norms;
  for (const at::Tensor& gradient : gradients) {
    if (gradient.numel() > 0) {
      const at::Tensor values = gradient.is_sparse() ? gradient.coalesce().values() : gradient;
      norms.push_back(at::linalg_vector_norm(values, norm_type, {}, false,
                                             c10::typeMetaToScalarType(options.dtype()))
                          .to(options.device()));
    }
  }
  if (norms.empty()) {
    return at::zeros({}, options);
  }
  const at::Tensor all = at::stack(norms);
  return std::isinf(norm_type) ? all.max() : all.pow(norm_type).sum();
}

at::Tensor norm_of(Strategy& strategy, const Gradients& gradients, double norm_type,
                   c10::Device device) {
  const bool precise = any_double(gradients.shards) || any_double(gradients.whole);
  const auto options = at::TensorOptions().dtype(precise ? at::kDouble : at::kFloat).device(device);
  const at::Tensor whole = accumulate_power(gradients.whole, norm_type, options);
  at::Tensor shards = accumulate_power(gradients.shards, norm_type, options);
  if (std::isinf(norm_type)) {
    return at::maximum(whole, largest_over_shards(strategy, shards));
  }
  strategy.reduce_over_shards(shards, ReduceOp::sum);
  return (whole + shards).pow(1.0 / norm_type);
}

c10::Device device_of(torch::optim::Optimizer& optimizer) {
  for (const auto& group : optimizer.param_groups()) {
    if (!group.params().empty()) {
      return group.params().front().device();
    }
  }
  return c10::Device(c10::kCPU);
}

}  // namespace

void check_norm_type(const char* call, double norm_type) {
  FABRIC_CHECK(Misconfiguration, norm_type > 0, "[fabric.", call, "] norm_type is no norm; got ",
               norm_type, "; expected p > 0, for example 2, or infinity for the largest element");
}

// MPI's maximum may lose a NaN, so that travels beside it.
at::Tensor largest_over_shards(Strategy& strategy, const at::Tensor& values) {
  const at::Tensor lost = at::isnan(values);
  const at::Tensor message =
      at::stack({values.masked_fill(lost, 0.0), lost.to(values.scalar_type())});
  strategy.reduce_over_shards(message, ReduceOp::max);
  return message[0].masked_fill(message[1] > 0, std::numeric_limits<double>::quiet_NaN());
}

at::Tensor gradient_norm(Strategy& strategy, torch::optim::Optimizer& optimizer, double norm_type) {
  check_norm_type("clip_gradients", norm_type);
  const at::NoGradGuard no_grad;
  strategy.before_step(optimizer);
  return norm_of(strategy, gradients_of(strategy, optimizer), norm_type, device_of(optimizer));
}

at::Tensor clip_gradients(Strategy& strategy, const std::string& label,
                          torch::optim::Optimizer& optimizer, const ClipOptions& options) {
  check_norm_type("clip_gradients", options.norm_type);
  FABRIC_CHECK(Misconfiguration, options.max_norm.has_value() != options.clip_val.has_value(),
               "[fabric.clip_gradients] expected either max_norm or clip_val; got ",
               options.max_norm ? "both" : "neither",
               ". Hint: fabric.clip_gradients(model, optimizer, {.max_norm = 1.0}).");
  const double limit = options.max_norm ? *options.max_norm : *options.clip_val;
  FABRIC_CHECK(Misconfiguration, limit > 0, "[fabric.clip_gradients] ",
               options.max_norm ? "max_norm" : "clip_val", " is not positive; got ", limit,
               "; expected a number greater than 0");
  const at::NoGradGuard no_grad;
  strategy.before_step(optimizer);
  const Gradients gradients = gradients_of(strategy, optimizer);
  const at::Tensor norm = norm_of(strategy, gradients, options.norm_type, device_of(optimizer));
  if (options.error_if_nonfinite) {
    FABRIC_CHECK(Misconfiguration, std::isfinite(norm.item<double>()),
                 "[fabric.clip_gradients] the gradients of ", label, " are not finite; got norm ",
                 norm.item<double>(), ". Hint: lower the learning rate, or skip this step: leave ",
                 "error_if_nonfinite out and ask torch::isfinite(norm).");
  }
  const at::Tensor factor =
      options.max_norm ? (limit / (norm + 1e-6)).clamp_max(1.0) : at::Tensor();
  for (const std::vector<at::Tensor>* list : {&gradients.shards, &gradients.whole}) {
    for (const at::Tensor& gradient : *list) {
      if (options.max_norm) {
        gradient.mul_(factor.to(gradient.options().layout(at::kStrided)));
      } else if (gradient.is_sparse()) {
        gradient._values().clamp_(-limit, limit);
      } else {
        gradient.clamp_(-limit, limit);
      }
    }
  }
  return norm;
}

}  // namespace fabric::detail
