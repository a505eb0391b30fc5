#include <strategies/precision/grad_scaler.h>

#include <algorithm>
#include <utility>

#include <ATen/ATen.h>
#include <torch/optim/optimizer.h>
#include <torch/serialize/input-archive.h>
#include <torch/serialize/output-archive.h>

#include <accelerators/error.h>
#include <accelerators/ordinary_scope.h>

namespace fabric {
namespace {

// Steps of others after which an optimizer is not waited for.
constexpr std::int64_t kPatience = 128;

// What is wrong with options, empty if nothing.
std::string fault_of(const GradScalerOptions& options) {
  if (!(options.init_scale > 0)) {
    return detail::str("init_scale must be positive; got ", options.init_scale,
                       "; expected for example 65536");
  }
  if (!(options.growth_factor > 1)) {
    return detail::str("growth_factor must be greater than 1; got ", options.growth_factor,
                       "; expected for example 2");
  }
  if (!(options.backoff_factor > 0 && options.backoff_factor < 1)) {
    return detail::str("backoff_factor must lie between 0 and 1; got ", options.backoff_factor,
                       "; expected for example 0.5");
  }
  if (options.growth_interval < 1) {
    return detail::str("growth_interval must be at least 1; got ", options.growth_interval,
                       "; expected iterations, for example 2000");
  }
  return {};
}

// What the gradients of an optimizer's parameters hold, each once: one may be listed twice.
std::vector<at::Tensor> gradients_of(const torch::optim::Optimizer& optimizer) {
  std::vector<at::Tensor> gradients;
  std::unordered_set<const c10::TensorImpl*> seen;
  for (const auto& group : optimizer.param_groups()) {
    for (const at::Tensor& parameter : group.params()) {
      const at::Tensor& gradient = parameter.grad();
      if (!gradient.defined() || !seen.insert(parameter.unsafeGetTensorImpl()).second) {
        continue;
      }
      FABRIC_CHECK(Misconfiguration, gradient.scalar_type() != at::kHalf,
                   "[fabric.grad_scaler] a parameter is kept in float16, whose gradients may "
                   "overflow before they are unscaled; expected float32 parameters under "
                   "\"16-mixed\". Hint: leave out model->to(torch::kHalf), or use \"16-true\", "
                   "which scales nothing.");
      gradients.push_back(gradient.is_sparse() ? gradient._values() : gradient);
    }
  }
  return gradients;
}

std::unordered_map<c10::Device, std::vector<at::Tensor>> by_device(
    const std::vector<at::Tensor>& tensors) {
  std::unordered_map<c10::Device, std::vector<at::Tensor>> sorted;
  for (const at::Tensor& tensor : tensors) {
    sorted[tensor.device()].push_back(tensor);
  }
  return sorted;
}

}  // namespace

GradScaler::GradScaler(GradScalerOptions options, Communicator ranks, c10::Device device)
    : options_(options), ranks_(std::move(ranks)) {
  const std::string fault = fault_of(options_);
  FABRIC_CHECK(Misconfiguration, fault.empty(), "[fabric.grad_scaler] ", fault);
  const OrdinaryScope ordinary;
  scale_ = at::full({}, options_.init_scale, at::TensorOptions().dtype(at::kFloat).device(device));
  growth_tracker_ = at::zeros({}, at::TensorOptions().dtype(at::kInt).device(device));
}

std::shared_ptr<ScaledOptimizer> GradScaler::adopt(const torch::optim::Optimizer& optimizer) {
  auto& weak = optimizers_[&optimizer];
  auto mine = weak.lock();
  if (!mine) {
    mine = std::make_shared<ScaledOptimizer>();
    mine->backward = backwards_;
    weak = mine;
  }
  for (const auto& group : optimizer.param_groups()) {
    for (const at::Tensor& parameter : group.params()) {
      mine->parameters.insert(parameter.unsafeGetTensorImpl());
    }
  }
  return mine;
}

ScaledOptimizer& GradScaler::known(const torch::optim::Optimizer& optimizer) {
  const auto found = optimizers_.find(&optimizer);
  const auto mine = found == optimizers_.end() ? nullptr : found->second.lock();
  FABRIC_CHECK(Routing, mine != nullptr, "[fabric.grad_scaler] this optimizer was not set up, so ",
               "that nobody knows whether its gradients are scaled. Hint: auto optimizer = ",
               "fabric.setup_optimizers(…), and keep what it returns.");
  return *mine;
}

at::Tensor GradScaler::begin_backward(const at::Tensor& loss, const at::Tensor& gradient) {
  const OrdinaryScope ordinary;
  std::erase_if(optimizers_, [](const auto& entry) { return entry.second.expired(); });
  int most = 0;
  for (const auto& [optimizer, weak] : optimizers_) {
    most = std::max(most, weak.lock()->steps);
  }
  bool all = true;
  for (const auto& [optimizer, weak] : optimizers_) {
    const auto mine = weak.lock();
    const bool idle = mine->last_step == 0 ? most > 1 : steps_ - mine->last_step > kPatience;
    all = all && (mine->steps > 0 || idle);
    if (std::exchange(mine->unscaled, false)) {
      for (const at::Tensor& gradient : gradients_of(*optimizer)) {  // nobody has zeroed them
        gradient.mul_(scale_.to(gradient.device()));
      }
    }
  }
  if (most > 0 && all) {
    end_iteration();
  }
  ++backwards_;
  const at::Tensor scale = scale_.to(loss.device(), loss.scalar_type());
  return gradient.defined() ? gradient * scale : scale.expand(loss.sizes());
}

void GradScaler::end_iteration() {
  at::Tensor found_inf;
  for (const auto& [optimizer, weak] : optimizers_) {
    const auto mine = weak.lock();
    if (mine && std::exchange(mine->steps, 0) > 0) {
      found_inf = found_inf.defined() ? at::maximum(found_inf, mine->any_inf) : mine->any_inf;
    }
  }
  at::_amp_update_scale_(scale_, growth_tracker_, found_inf, options_.growth_factor,
                         options_.backoff_factor, options_.growth_interval);
}

void GradScaler::unscale(const torch::optim::Optimizer& optimizer) {
  ScaledOptimizer& mine = known(optimizer);
  if (mine.unscaled) {
    return;
  }
  const OrdinaryScope ordinary;
  const std::vector<at::Tensor> gradients = gradients_of(optimizer);
  FABRIC_CHECK(Routing, gradients.empty() || mine.backward != backwards_,
               "[fabric.grad_scaler] a step with gradients that no fabric.backward has made; ",
               "under \"16-mixed\" they would be divided by a scale they never had. Hint: ",
               "fabric.backward(loss).");
  const at::Tensor inverse = scale_.to(at::kDouble).reciprocal().to(at::kFloat);
  mine.found_inf = at::zeros({}, scale_.options());
  for (auto& [device, tensors] : by_device(gradients)) {
    at::Tensor found =
        device == scale_.device() ? mine.found_inf : at::zeros({}, scale_.options().device(device));
    at::_amp_foreach_non_finite_check_and_unscale_(tensors, found, inverse.to(device));
    if (!found.is_same(mine.found_inf)) {
      mine.found_inf.add_(found.to(scale_.device()));
    }
  }
  mine.found_inf.clamp_max_(1);
  ranks_.all_reduce(mine.found_inf, ReduceOp::max).wait();
  mine.unscaled = true;
}

const at::Tensor& GradScaler::found_inf(const torch::optim::Optimizer& optimizer) {
  return known(optimizer).found_inf;
}

void GradScaler::stepped(const torch::optim::Optimizer& optimizer) {
  ScaledOptimizer& mine = known(optimizer);
  mine.any_inf = mine.steps > 0 ? at::maximum(mine.any_inf, mine.found_inf) : mine.found_inf;
  ++mine.steps;
  mine.backward = backwards_;
  mine.last_step = ++steps_;
}

bool GradScaler::holds_scaled(const at::Tensor& parameter) const {
  if (!parameter.grad().defined()) {
    return false;
  }
  bool any = false;
  for (const auto& [optimizer, weak] : optimizers_) {
    if (const auto mine = weak.lock()) {
      any = true;
      if (!mine->unscaled && mine->backward != backwards_ &&
          mine->parameters.contains(parameter.unsafeGetTensorImpl())) {
        return true;
      }
    }
  }
  return !any && backwards_ > 0;  // no optimizer was set up that could unscale it
}

void GradScaler::restore(double scale, std::int64_t growth_tracker,
                         const GradScalerOptions& options) {
  const std::string fault = fault_of(options);
  FABRIC_CHECK(Checkpoint, fault.empty(),
               "[fabric.grad_scaler] the saved state is damaged: ", fault);
  options_ = options;
  const at::NoGradGuard no_grad;
  scale_.fill_(scale);
  growth_tracker_.fill_(growth_tracker);
}

void GradScaler::save(torch::serialize::OutputArchive& archive) const {
  archive.write("scale", scale_.cpu(), /*is_buffer=*/true);
  archive.write("_growth_tracker", growth_tracker_.cpu(), /*is_buffer=*/true);
  archive.write("growth_factor", c10::IValue(options_.growth_factor));
  archive.write("backoff_factor", c10::IValue(options_.backoff_factor));
  archive.write("growth_interval", c10::IValue(options_.growth_interval));
}

void GradScaler::load(torch::serialize::InputArchive& archive) {
  at::Tensor scale;
  at::Tensor tracker;
  c10::IValue growth;
  c10::IValue backoff;
  c10::IValue interval;
  const bool whole =
      archive.try_read("scale", scale, /*is_buffer=*/true) &&
      archive.try_read("_growth_tracker", tracker, /*is_buffer=*/true) &&
      archive.try_read("growth_factor", growth) && archive.try_read("backoff_factor", backoff) &&
      archive.try_read("growth_interval", interval) && scale.numel() == 1 && tracker.numel() == 1 &&
      growth.isDouble() && backoff.isDouble() && interval.isInt();
  FABRIC_CHECK(Checkpoint, whole, "[fabric.grad_scaler] the archive holds no loss scaling; ",
               "expected what GradScaler::save wrote (scale, _growth_tracker, growth_factor, ",
               "backoff_factor and growth_interval)");
  GradScalerOptions options{.init_scale = options_.init_scale,
                            .growth_factor = growth.toDouble(),
                            .backoff_factor = backoff.toDouble(),
                            .growth_interval = interval.toInt()};
  restore(scale.item<double>(), tracker.item<std::int64_t>(), options);
}

torch::serialize::OutputArchive& operator<<(torch::serialize::OutputArchive& archive,
                                            const GradScaler& scaler) {
  scaler.save(archive);
  return archive;
}

torch::serialize::InputArchive& operator>>(torch::serialize::InputArchive& archive,
                                           GradScaler& scaler) {
  scaler.load(archive);
  return archive;
}

}  // namespace fabric
