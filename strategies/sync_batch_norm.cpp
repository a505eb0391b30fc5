#include <strategies/sync_batch_norm.h>

#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

#include <ATen/ATen.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <accelerators/error.h>
#include <strategies/backward_collective.h>
#include <strategies/flat/parameter_use.h>

namespace fabric {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Anchor {
  c10::weak_intrusive_ptr<c10::TensorImpl> tensor;
  Communicator communicator;
};

struct Anchors {
  std::mutex mutex;
  std::unordered_map<const c10::TensorImpl*, Anchor> map;
};

Anchors& anchors() {
  static Anchors all;
  return all;
}

// (C) viewed so that it broadcasts over (N, C, …).
Tensor along_channels(const Tensor& values, const Tensor& input) {
  std::vector<std::int64_t> shape(static_cast<std::size_t>(input.dim()), 1);
  shape[1] = values.numel();
  return values.view(shape);
}

std::vector<std::int64_t> all_but_channels(const Tensor& input) {
  std::vector<std::int64_t> dims;
  for (std::int64_t dim = 0; dim < input.dim(); ++dim) {
    if (dim != 1) {
      dims.push_back(dim);
    }
  }
  return dims;
}

struct Statistics {
  Tensor mean;       // (C)
  Tensor variance;   // (C), biased
  double count = 0;  // values a channel, all ranks
};

// Means and squared deviations of all ranks, combined pairwise exactly (Chan et al. 1979): sums of
// squares would cancel.
Statistics statistics_of_all(const Tensor& input, const Communicator& communicator) {
  const std::int64_t channels = input.size(1);
  const double own_count = static_cast<double>(input.numel()) / std::max<std::int64_t>(1, channels);
  Tensor message = at::zeros({2 * channels + 1}, input.options().dtype(at::kDouble));
  if (input.numel() > 0) {
    const Tensor mean = input.mean(all_but_channels(input), false, at::kDouble);
    const Tensor centred = input.to(at::kDouble) - along_channels(mean, input);
    message.narrow(0, 0, channels).copy_(mean);
    message.narrow(0, channels, channels).copy_(centred.square().sum(all_but_channels(input)));
  }
  message[2 * channels] = own_count;
  Tensor all = at::empty({communicator.size(), message.numel()}, message.options());
  communicator.all_gather(all, message).wait();
  const Tensor counts = all.narrow(1, 2 * channels, 1);
  const Tensor means = all.narrow(1, 0, channels);
  const Tensor deviations = all.narrow(1, channels, channels);
  Statistics result;
  result.count = counts.sum().item<double>();
  FABRIC_CHECK(Misconfiguration, result.count > 1,
               "[fabric.sync_batchnorm] training needs more than ",
               "one value per channel over all ranks; got ", result.count, " of an input of ",
               input.sizes(), " here");
  result.mean = (counts * means).sum(0) / result.count;
  result.variance = (deviations + counts * (means - result.mean).square()).sum(0) / result.count;
  return result;
}

class SyncBatchNorm : public torch::autograd::Function<SyncBatchNorm> {
 public:
  // Tensors that may be absent are optional: an undefined one cannot be an input of a Function.
  static Tensor forward(AutogradContext* context, const Tensor& input,
                        const std::optional<Tensor>& maybe_weight,
                        const std::optional<Tensor>& maybe_bias, const Tensor* means,
                        const Tensor* variances, double momentum, double eps,
                        const Communicator* group) {
    const Tensor weight = maybe_weight.value_or(Tensor());
    const Tensor bias = maybe_bias.value_or(Tensor());
    const Tensor& running_mean = *means;
    const Tensor& running_var = *variances;
    const Statistics statistics = statistics_of_all(input, *group);
    // Single precision at least, as LibTorch's kernels accumulate.
    const at::ScalarType compute = input.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    const Tensor mean = statistics.mean.to(compute);
    const Tensor inverse_std = (statistics.variance + eps).rsqrt().to(compute);
    Tensor output =
        (input.to(compute) - along_channels(mean, input)) * along_channels(inverse_std, input);
    if (weight.defined()) {
      output = output * along_channels(weight.to(compute), input);
    }
    if (bias.defined()) {
      output = output + along_channels(bias.to(compute), input);
    }
    // Through aliases with version counters of their own, like the kernels: a second forward before
    // backward stays legal.
    if (running_mean.defined()) {
      running_mean.variable_data()
          .mul_(1 - momentum)
          .add_(statistics.mean.to(running_mean.scalar_type()), momentum);
    }
    if (running_var.defined()) {
      const double unbiased = statistics.count / (statistics.count - 1);
      running_var.variable_data()
          .mul_(1 - momentum)
          .add_(statistics.variance.to(running_var.scalar_type()), momentum * unbiased);
    }
    context->save_for_backward({input, weight, mean, inverse_std});
    context->saved_data["count"] = statistics.count;
    context->saved_data["bias"] = bias.defined();
    context->saved_data["group"] = BackwardCollective::keep(*group);
    return output.to(input.scalar_type());
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor& input = saved[0];
    const Tensor& weight = saved[1];
    const Tensor& mean = saved[2];
    const Tensor& inverse_std = saved[3];
    const double count = context->saved_data["count"].toDouble();
    const Communicator& communicator = BackwardCollective::of(context->saved_data["group"]);
    const at::ScalarType compute = mean.scalar_type();
    const Tensor gradient = gradients[0].to(compute);
    const Tensor centred = input.to(compute) - along_channels(mean, input);
    const std::vector<std::int64_t> dims = all_but_channels(input);
    const Tensor own = at::stack({gradient.sum(dims), (gradient * centred).sum(dims)});
    Tensor all = own.clone();
    communicator.all_reduce(all, ReduceOp::sum).wait();
    Tensor scale = inverse_std;
    if (weight.defined()) {
      scale = scale * weight.to(compute);
    }
    const Tensor mean_gradient = all[0] / count;
    const Tensor projection = all[1] / count * inverse_std.square();
    const Tensor input_gradient = (gradient - along_channels(mean_gradient, input) -
                                   centred * along_channels(projection, input)) *
                                  along_channels(scale, input);
    variable_list result(8);
    result[0] = input_gradient.to(input.scalar_type());
    if (weight.defined()) {
      result[1] = (own[1] * inverse_std).to(weight.scalar_type());
    }
    if (context->saved_data["bias"].toBool()) {
      result[2] = own[0].to(weight.defined() ? weight.scalar_type() : compute);
    }
    return result;
  }
};

std::optional<Communicator> group_of(const Tensor& tensor) {
  if (!tensor.defined()) {
    return std::nullopt;
  }
  const std::lock_guard lock(anchors().mutex);
  const auto found = anchors().map.find(tensor.unsafeGetTensorImpl());
  return found == anchors().map.end() ? std::nullopt : std::optional(found->second.communicator);
}

Tensor batch_norm(const Tensor& input, const std::optional<Tensor>& weight,
                  const std::optional<Tensor>& bias, const std::optional<Tensor>& running_mean,
                  const std::optional<Tensor>& running_var, bool training, double momentum,
                  double eps, bool cudnn_enabled) {
  const ParameterUse use("aten::batch_norm", {weight.value_or(Tensor()), bias.value_or(Tensor())});
  const c10::impl::ExcludeDispatchKeyGuard below(kParameterKey);
  const Tensor means = running_mean.value_or(Tensor());
  const Tensor variances = running_var.value_or(Tensor());
  std::optional<Communicator> group = group_of(means);
  if (!group) {
    group = group_of(weight.value_or(Tensor()));
  }
  const Tensor output =
      training && group
          ? SyncBatchNorm::apply(input, weight, bias, &means, &variances, momentum, eps, &*group)
          : at::batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps,
                           cudnn_enabled);
  use.returned(output);
  return output;
}

// Routed calls keep the key then: the kernel is wanted inside them.
void register_kernel() {
  register_parameter_key();
  need_parameter_key_in_calls();
  static torch::Library library(torch::Library::IMPL, "aten", kParameterKey, __FILE__, __LINE__);
  static const bool registered = [] {
    library.impl("batch_norm", batch_norm);
    return true;
  }();
  (void)registered;
}

}  // namespace

void synchronise_batch_norm(const Tensor& anchor, const Communicator& communicator) {
  if (communicator.alone()) {
    return;
  }
  register_kernel();
  {
    const std::lock_guard lock(anchors().mutex);
    std::erase_if(anchors().map, [](const auto& item) { return item.second.tensor.expired(); });
    anchors().map.insert_or_assign(
        anchor.unsafeGetTensorImpl(),
        Anchor{c10::weak_intrusive_ptr<c10::TensorImpl>(anchor.getIntrusivePtr()), communicator});
  }
  add_parameter_key(anchor);
}

void refresh_batch_norm_anchors() {
  std::vector<Tensor> alive;
  {
    const std::lock_guard lock(anchors().mutex);
    for (auto& [impl, anchor] : anchors().map) {
      if (auto tensor = anchor.tensor.lock()) {
        alive.emplace_back(std::move(tensor));
      }
    }
  }
  for (const Tensor& anchor : alive) {
    add_parameter_key(anchor);
  }
}

}  // namespace fabric
