#include <fabric/optim/fused_update.h>

#include <ATen/ATen.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <accelerators/error.h>
#include <accelerators/ordinary_scope.h>
#include <strategies/flat/parameter_use.h>
#include <strategies/flat/storage_map.h>

namespace fabric::detail {
namespace {

constexpr c10::DispatchKeySet kWatched(kParameterKey);
constexpr c10::DispatchKeySet kLazy({c10::DispatchKey::Conjugate, c10::DispatchKey::Negative});

// Whether the memory of a parameter is only there while an operator uses it (one of a sharded model
// whose optimizer was not set up). Where it is not, those who watch the parameter hear here of what
// no operator will tell them.
bool comes_and_goes(const at::Tensor& parameter, const GroupStep& group) {
  if (!(parameter.key_set() & group.unusual).has_any(kWatched)) {
    return false;
  }
  announce_write(parameter, "the step of a fused optimizer");
  return StorageMap::instance().find(parameter, /*listeners=*/false).keeper != nullptr;
}

bool alike(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.device() == b.device() && a.sizes() == b.sizes() &&
         a.strides() == b.strides();
}

// `tensor` in the dtype, on the device and in the memory order of `like`.
at::Tensor laid_out(const at::Tensor& tensor, const at::Tensor& like) {
  if (alike(tensor, like) && !tensor.is_conj() && !tensor.is_neg()) {
    return tensor;
  }
  return at::empty_strided(like.sizes(), like.strides(), like.options().requires_grad(false))
      .copy_(tensor);
}

at::Tensor new_state(const at::Tensor& like, double initial) {
  const OrdinaryScope ordinary;
  return at::full_like(like, initial, like.options().requires_grad(false));
}

at::Tensor real_view(const at::Tensor& tensor) {
  return tensor.is_complex() ? at::view_as_real(tensor) : tensor;
}

void check_gradient(const at::Tensor& parameter, const at::Tensor& gradient) {
  FABRIC_CHECK(
      Misconfiguration, gradient.layout() == c10::kStrided && parameter.layout() == c10::kStrided,
      "[fabric.optimizer] fused optimizers take dense gradients; got one of layout ",
      gradient.layout(), " for a parameter of shape ", parameter.sizes(),
      ". Hint: torch::optim::SGD and torch::optim::Adagrad take sparse gradients, or make ",
      "the embedding with .sparse(false).");
  FABRIC_CHECK(Misconfiguration, gradient.numel() == parameter.numel(), "[fabric.optimizer] a ",
               "gradient does not fit its parameter; got shape ", gradient.sizes(), "; expected ",
               parameter.sizes());
  const at::ScalarType dtype = c10::toRealValueType(parameter.scalar_type());
  FABRIC_CHECK(
      Misconfiguration,
      dtype == at::kFloat || dtype == at::kDouble || dtype == at::kHalf || dtype == at::kBFloat16,
      "[fabric.optimizer] parameters of this dtype cannot be updated; got ", dtype,
      "; expected float64, float32, float16, bfloat16 or their complex kinds");
}

// Makes what is missing, in the memory order of `like`, and brings the rest there: it was loaded,
// or the parameter was converted or moved since. Whether this is a first update of another kind.
bool prepare_state(FusedParamState& state, const at::Tensor& like, const StateNeeds& needs) {
  bool first = false;
  for (std::size_t i = 0; i < state.tensors.size(); ++i) {
    at::Tensor& tensor = state.tensors[i];
    if (!needs.tensors[i]) {
      continue;
    }
    if (!tensor.defined()) {
      tensor = new_state(like, needs.initial);
      first = needs.first_differs;
    } else {
      tensor = laid_out(tensor, like);
    }
  }
  if (like.is_cpu()) {
    if (state.device_step.defined()) {
      state.set_step(state.step());
    }
  } else if (state.layout().counts_steps &&
             (!state.device_step.defined() || state.device_step.device() != like.device())) {
    state.device_step = at::full({}, static_cast<double>(state.step()),
                                 at::TensorOptions().dtype(at::kFloat).device(like.device()));
  }
  return first;
}

}  // namespace

c10::DispatchKeySet GroupStep::usual_obstacles() {
  return c10::impl::tls_is_dispatch_key_excluded(kParameterKey) ? kLazy : kLazy | kWatched;
}

Run& Runs::run_for(bool spans_only, at::ScalarType dtype, c10::Device device, std::int64_t step,
                   bool first) {
  const auto fits = [&](const Run& run) {
    return run.step == step && run.dtype == dtype && run.first == first &&
           run.spans_only == spans_only && run.device == device;
  };
  for (Run& run : runs_) {
    if (fits(run)) {
      return run;
    }
  }
  Run run;
  run.spans_only = spans_only;
  run.plain = spans_only && !first;
  run.dtype = dtype;
  run.device = device;
  run.step = step;
  run.first = first;
  run.spans = std::move(spare_);
  spare_.clear();
  if (run.plain) {
    run.spans.reserve(expected_);
  }
  last_ = nullptr;  // all move
  return runs_.emplace_back(std::move(run));
}

// Whatever is not as add_plain wants it: made so, or handed to ATen.
void Runs::add_other(const at::Tensor& parameter, const at::Tensor& given, FusedParamState& state,
                     const GroupStep& group) {
  check_gradient(parameter, given);
  if (parameter.key_set().has_any(kWatched) && !comes_and_goes(parameter, group) &&
      add_plain(*parameter.unsafeGetTensorImpl(), *given.unsafeGetTensorImpl(), state, group,
                kLazy)) {
    return;
  }
  // Elements are updated in the order of memory: everything in the parameter's.
  Update update{.parameter = parameter};
  if (!parameter.is_non_overlapping_and_dense() || parameter.is_conj() || parameter.is_neg()) {
    update.parameter = at::empty_like(parameter).copy_(parameter);
  }
  const at::Tensor dense = update.parameter;
  update.gradient = laid_out(given, update.parameter);
  const bool first = prepare_state(state, update.parameter, group.needs);
  for (std::size_t i = 0; i < state.tensors.size(); ++i) {
    if (group.needs.tensors[i]) {
      update.states[i] = state.tensors[i];
    }
  }
  const bool host = parameter.device().is_cpu();
  if (host || !state.layout().counts_steps) {
    ++state.host_step;
    touched_.push_back({&state, nullptr});
  }
  const std::int64_t step = host ? state.host_step : 0;
  if (host && !comes_and_goes(parameter, group)) {
    widen(update);
    add_span(update, run_for(true, c10::toRealValueType(update.parameter.scalar_type()),
                             parameter.device(), step, first));
    touched_.push_back({nullptr, parameter.unsafeGetTensorImpl()});
  } else {
    Run& run = run_for(false, c10::toRealValueType(update.parameter.scalar_type()),
                       parameter.device(), step, first);
    run.parameters.push_back(real_view(update.parameter));
    run.gradients.push_back(real_view(update.gradient));
    for (std::size_t i = 0; i < update.states.size(); ++i) {
      if (group.needs.tensors[i]) {
        run.states[i].push_back(real_view(update.states[i]));
      }
    }
    run.steps.push_back(state.device_step);
  }
  if (!dense.is_same(parameter)) {
    copy_back_.emplace_back(parameter, dense);
  }
}

// Half precision on the CPU is computed in float and rounded at the end. (ATen's fused SGD leaves
// most of such a parameter alone: pytorch/pytorch#191763.)
void Runs::widen(Update& update) {
  const at::ScalarType dtype = update.parameter.scalar_type();
  const at::ScalarType real = c10::toRealValueType(dtype);
  if (real != at::kHalf && real != at::kBFloat16) {
    return;
  }
  const at::ScalarType wide = c10::isComplexType(dtype) ? at::kComplexFloat : at::kFloat;
  const auto widened = [&](const at::Tensor& tensor) {
    copy_back_.emplace_back(tensor, tensor.detach().to(wide));
    return copy_back_.back().second;
  };
  update.gradient = update.gradient.to(wide);
  for (at::Tensor& tensor : update.states) {
    tensor = tensor.defined() ? widened(tensor) : tensor;
  }
  update.parameter = widened(update.parameter);
}

void Runs::add_span(const Update& update, Run& run) {
  kernels::OptimizerSpan span{.parameter = update.parameter.mutable_data_ptr(),
                              .gradient = update.gradient.const_data_ptr(),
                              .size = update.parameter.numel()};
  span.size *= update.parameter.is_complex() ? 2 : 1;
  for (std::size_t i = 0; i < update.states.size(); ++i) {
    span.state[i] = update.states[i].defined() ? update.states[i].mutable_data_ptr() : nullptr;
  }
  run.spans.push_back(span);
  kept_.push_back(update.gradient);
}

// Apart from add: each waits for everything before it.
void Runs::bump_versions() {
  for (const Touched& touched : touched_) {
    if (touched.changed != nullptr) {
      touched.changed->bump_version();
    }
  }
}

void Runs::finish() {
  for (const auto& [parameter, updated] : copy_back_) {
    parameter.copy_(updated);
  }
  clear();
}

void Runs::abandon() noexcept {
  for (const Touched& touched : touched_) {
    if (touched.counted != nullptr) {
      --touched.counted->host_step;
    }
  }
  clear();
}

void Runs::clear() noexcept {
  if (!runs_.empty()) {
    spare_ = std::move(runs_.front().spans);
    spare_.clear();
  }
  runs_.clear();
  last_ = nullptr;
  touched_.clear();
  kept_.clear();
  copy_back_.clear();
}

}  // namespace fabric::detail
