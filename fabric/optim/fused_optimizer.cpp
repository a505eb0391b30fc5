#include <fabric/optim/fused_optimizer.h>

#include <typeinfo>
#include <utility>

#include <ATen/ATen.h>
#include <c10/util/Type.h>

#include <accelerators/error.h>
#include <fabric/optim/group_options.h>

namespace fabric {
namespace {

using detail::GroupStep;
using detail::Run;

// A scale as a number; reads it where it lies on a device.
double number(const at::Tensor& scale, double otherwise) {
  return scale.defined() ? scale.item<double>() : otherwise;
}

at::Tensor on(const at::Tensor& tensor, c10::Device device) {
  return tensor.defined() ? tensor.to(device, at::kFloat, /*non_blocking=*/true) : tensor;
}

}  // namespace

void MomentumOptions::set_momentum(double momentum) {
  double& own = *this->momentum();
  FABRIC_CHECK(Misconfiguration, !recorded_ || own == momentum,
               "[fabric.schedule] the momentum is ",
               "part of a captured step, whose replays would not see it change; got ", momentum,
               "; expected ", own, " to stay. Hint: OneCycleLR{.cycle_momentum = false}.");
  own = momentum;
}

FusedOptimizer::FusedOptimizer(std::vector<torch::optim::OptimizerParamGroup> groups,
                               std::unique_ptr<torch::optim::OptimizerOptions> defaults)
    : Optimizer(groups, std::move(defaults)) {}

void FusedOptimizer::set_grad_scale(const at::Tensor& grad_scale, const at::Tensor& found_inf) {
  grad_scale_ = grad_scale;
  found_inf_ = found_inf;
}

std::string FusedOptimizer::obstacle_to_capture() {
  check_groups();
  for (std::size_t i = 0; i < param_groups_.size(); ++i) {
    const at::Tensor lr = lr_tensor(param_groups_[i].options());
    for (const at::Tensor& parameter : param_groups_[i].params()) {
      if (!lr.defined() || lr.device() != parameter.device()) {
        return detail::str("group ", i, " has its learning rate ",
                           lr.defined() ? detail::str("on ", lr.device()) : "as a number",
                           ", where a replay would not see it change; expected lr_tensor on ",
                           parameter.device(), ". Hint: {.lr_tensor = torch::full({}, 1e-3, ",
                           "fabric.device())}; set_lr and schedules write to it.");
      }
    }
  }
  for (torch::optim::OptimizerParamGroup& group : param_groups_) {
    dynamic_cast<MomentumOptions&>(group.options()).record_momentum();
  }
  return {};
}

std::vector<at::Tensor> FusedOptimizer::tensors_in_use() {
  std::vector<at::Tensor> tensors;
  const auto add = [&tensors](const at::Tensor& tensor) {
    if (tensor.defined()) {
      tensors.push_back(tensor);
    }
  };
  for (torch::optim::OptimizerParamGroup& group : param_groups_) {
    add(lr_tensor(group.options()));
    for (const at::Tensor& parameter : group.params()) {
      add(parameter);
      const FusedParamState& state = state_of(parameter);
      add(state.device_step);
      for (const at::Tensor& tensor : state.tensors) {
        add(tensor);
      }
    }
  }
  return tensors;
}

void FusedOptimizer::check_groups() {
  checked_.resize(param_groups_.size());
  for (std::size_t i = 0; i < param_groups_.size(); ++i) {
    torch::optim::OptimizerParamGroup& group = param_groups_[i];
    const bool own = typeid(group.options()) == typeid(*defaults_);
    if (own && checked_[i] == &group.options()) {
      continue;
    }
    if (!own) {
      auto converted = own_options(group.options());
      FABRIC_CHECK(Misconfiguration, converted != nullptr,
                   "[fabric.optimizer] a group has options of ", "another optimizer; got ",
                   c10::demangle(typeid(group.options()).name()), "; expected ",
                   c10::demangle(typeid(*defaults_).name()),
                   ". Hint: fabric::parameter_group(parameters, options).");
      group.set_options(std::move(converted));
    }
    check_own_options(group.options());
    checked_[i] = &group.options();
  }
}

bool FusedOptimizer::any_on_cpu() const {
  for (const torch::optim::OptimizerParamGroup& group : param_groups_) {
    for (const at::Tensor& parameter : group.params()) {
      if (parameter.is_cpu()) {
        return true;
      }
    }
  }
  return false;
}

FusedParamState& FusedOptimizer::state_of(const at::Tensor& parameter) {
  std::unique_ptr<torch::optim::OptimizerParamState>& state =
      state_[parameter.unsafeGetTensorImpl()];
  // Only ours has this base; which of ours follows from the layout.
  auto* own = dynamic_cast<FusedParamState*>(state.get());
  if (own == nullptr) {
    std::unique_ptr<FusedParamState> made = own_state(state.get());
    FABRIC_CHECK(
        Misconfiguration, made != nullptr, "[fabric.optimizer] a parameter has state of ",
        "another optimizer, which says nothing to this one. Hint: fabric::fuse takes over ",
        "that of LibTorch's optimizer of the same name.");
    own = made.get();
    state = std::move(made);
  }
  return *own;
}

at::Tensor FusedOptimizer::step(LossClosure closure) {
  at::Tensor loss;
  if (closure) {
    const at::AutoGradMode with_gradients(true);
    loss = closure();
  }
  const at::NoGradGuard no_grad;
  const at::Tensor grad_scale = std::exchange(grad_scale_, {});
  at::Tensor found_inf = std::exchange(found_inf_, {});
  if (found_inf.defined() && (found_inf.is_cpu() || any_on_cpu())) {
    if (found_inf.item<double>() != 0) {
      return loss;
    }
    found_inf.reset();
  }
  check_groups();
  for (torch::optim::OptimizerParamGroup& group : param_groups_) {
    try {
      step_group(group, grad_scale, found_inf);
    } catch (...) {
      runs_.abandon();
      throw;
    }
  }
  return loss;
}

void FusedOptimizer::step_group(torch::optim::OptimizerParamGroup& group,
                                const at::Tensor& grad_scale, const at::Tensor& found_inf) {
  GroupStep shared;
  shared.options = &group.options();
  LearningRate lr = learning_rate(group.options());
  shared.lr = lr.value;
  shared.lr_tensor = std::move(lr.tensor);
  shared.needs = needs(group.options());
  shared.wanted = shared.needs.mask();
  shared.grad_scale = grad_scale;
  shared.found_inf = found_inf;
  runs_.expect(group.params().size());
  const std::type_info* own_type = nullptr;
  for (const at::Tensor& parameter : group.params()) {
    const at::Tensor& gradient = std::as_const(*parameter.unsafeGetTensorImpl()).grad();
    if (!gradient.defined()) {
      continue;
    }
    const auto found = state_.find(parameter.unsafeGetTensorImpl());
    FusedParamState* state;
    if (found != state_.end() && own_type != nullptr && typeid(*found->second) == *own_type) {
      state = static_cast<FusedParamState*>(found->second.get());
    } else {
      state = &state_of(parameter);
      own_type = &typeid(*state);
    }
    runs_.add(parameter, gradient, *state, shared);
  }
  runs_.bump_versions();
  for (Run& run : runs_.filled()) {
    update(shared, run);
  }
  runs_.finish();
}

void FusedOptimizer::update(const GroupStep& shared, Run& run) const {
  GroupStep group = shared;
  if (run.spans_only) {
    group.gradient_scale = 1 / number(group.grad_scale, 1);
    group.lr = group.lr_tensor.defined() ? group.lr_tensor.item<double>() : group.lr;
    update_spans(group, run);
    return;
  }
  group.grad_scale = on(group.grad_scale, run.device);
  group.found_inf = on(group.found_inf, run.device);
  if (run.device.is_cpu()) {
    group.lr = group.lr_tensor.defined() ? group.lr_tensor.item<double>() : group.lr;
    group.lr_tensor.reset();
    // The count is on the host: one tensor serves all.
    const at::Tensor step = at::scalar_tensor(static_cast<double>(run.step), at::kFloat);
    run.steps.assign(run.parameters.size(), step);
    update_lists(group, run);
    return;
  }
  if (group.lr_tensor.defined()) {
    group.lr_tensor = on(group.lr_tensor, run.device);
  }
  const bool counted = run.steps.front().defined();
  if (counted) {
    at::_foreach_add_(run.steps, 1);
  }
  update_lists(group, run);
  if (counted && group.found_inf.defined()) {
    at::_foreach_sub_(run.steps, std::vector<at::Tensor>(run.steps.size(), group.found_inf));
  }
}

}  // namespace fabric
