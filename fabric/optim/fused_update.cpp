#include <fabric/optim/fused_update.h>

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <accelerators/error.h>
#include <strategies/flat/parameter_use.h>
#include <strategies/flat/storage_map.h>

namespace fabric::detail {
namespace {

// Whether the memory of `tensor` is only there while an operator uses it (a parameter of a sharded
// model whose optimizer was not set up).
bool comes_and_goes(const at::Tensor& tensor) {
  return tensor.key_set().has(kParameterKey) &&
         !c10::impl::tls_is_dispatch_key_excluded(kParameterKey) &&
         StorageMap::instance().find(tensor, /*listeners=*/false).keeper != nullptr;
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
  const c10::InferenceMode ordinary(false);
  return at::full_like(like, initial, like.options().requires_grad(false));
}

at::Tensor real_view(const at::Tensor& tensor) {
  return tensor.is_complex() ? at::view_as_real(tensor) : tensor;
}

}  // namespace

Run& Runs::run_for(bool spans_only, at::ScalarType dtype, c10::Device device, std::int64_t step,
                   bool first) {
  const auto fits = [&](const Run& run) {
    return run.step == step && run.dtype == dtype && run.first == first &&
           run.spans_only == spans_only && run.device == device;
  };
  if (last_ < runs_.size() && fits(runs_[last_])) {
    return runs_[last_];
  }
  for (last_ = 0; last_ < runs_.size(); ++last_) {
    if (fits(runs_[last_])) {
      return runs_[last_];
    }
  }
  Run run;
  run.spans_only = spans_only;
  run.dtype = dtype;
  run.device = device;
  run.step = step;
  run.first = first;
  run.spans = std::move(spare_);
  spare_.clear();
  return runs_.emplace_back(std::move(run));
}

// The way of nearly all parameters on the CPU; it decides what a step on small ones costs. It only
// loads, so that the processor is busy with several parameters at once: their objects lie
// scattered.
bool Runs::add_plain(const at::Tensor& parameter, const at::Tensor& gradient,
                     FusedParamState& state, const GroupStep& group) {
  c10::TensorImpl& p = *parameter.unsafeGetTensorImpl();
  const c10::TensorImpl& g = *gradient.unsafeGetTensorImpl();
  const caffe2::TypeMeta dtype = p.dtype();
  const std::int64_t size = p.numel();
  const bool real = dtype == caffe2::TypeMeta::Make<float>();
  if ((!real && dtype != caffe2::TypeMeta::Make<double>()) || g.dtype() != dtype ||
      g.numel() != size || !lies_plainly(p) || !lies_plainly(g) || state.device_step.defined() ||
      comes_and_goes(parameter)) {
    return false;
  }
  kernels::OptimizerSpan span;
  span.size = size;
  for (std::size_t i = 0; i < span.state.size(); ++i) {
    if (group.needs.tensors[i] && (span.state[i] = state.data(i, size, dtype)) == nullptr) {
      return false;
    }
  }
  const std::int64_t item = real ? 4 : 8;
  span.parameter =
      static_cast<char*>(p.unsafe_storage().mutable_data()) + p.storage_offset() * item;
  span.gradient = static_cast<const char*>(g.unsafe_storage().data()) + g.storage_offset() * item;
  versions_ += p.version_counter().current_version();  // brings it near, for bump_versions
  changed_.push_back(&p);
  ++state.host_step;
  counted_.push_back(&state);
  run_for(true, real ? at::kFloat : at::kDouble, c10::Device(c10::kCPU), state.host_step, false)
      .spans.push_back(span);
  return true;
}

void Runs::add_other(const at::Tensor& parameter, const at::Tensor& given, FusedParamState& state,
                     const GroupStep& group) {
  FABRIC_CHECK(
      Misconfiguration, given.layout() == c10::kStrided && parameter.layout() == c10::kStrided,
      "[fabric.optimizer] fused optimizers take dense gradients; got one of layout ",
      given.layout(), " for a parameter of shape ", parameter.sizes(),
      ". Hint: torch::optim::SGD and torch::optim::Adagrad take sparse gradients, or make ",
      "the embedding with .sparse(false).");
  FABRIC_CHECK(Misconfiguration, given.numel() == parameter.numel(), "[fabric.optimizer] a ",
               "gradient does not fit its parameter; got shape ", given.sizes(), "; expected ",
               parameter.sizes());
  // Elements are updated in the order of memory: everything in the parameter's.
  at::Tensor dense = parameter;
  if (!parameter.is_non_overlapping_and_dense() || parameter.is_conj() || parameter.is_neg()) {
    dense = at::empty_like(parameter).copy_(parameter);
    copy_back_.emplace_back(parameter, dense);
  }
  const at::Tensor gradient = laid_out(given, dense);
  bool first = false;
  for (std::size_t i = 0; i < state.tensors.size(); ++i) {
    if (group.needs.tensors[i]) {
      at::Tensor& tensor = state.tensors[i];
      if (!tensor.defined()) {
        tensor = new_state(dense, group.needs.initial);
        first = group.needs.first_differs;
      } else if (!alike(tensor, dense)) {  // loaded, or the parameter was converted since
        tensor = laid_out(tensor, dense);
      }
    }
  }
  const bool host = dense.device().is_cpu();
  const bool counts_on_device = !host && state.layout().counts_steps;
  if (host) {
    if (state.device_step.defined()) {  // the parameter has moved
      state.set_step(state.step());
    }
  } else if (counts_on_device &&
             (!state.device_step.defined() || state.device_step.device() != dense.device())) {
    state.device_step = at::full({}, static_cast<double>(state.step()),
                                 at::TensorOptions().dtype(at::kFloat).device(dense.device()));
  }
  if (!counts_on_device) {
    ++state.host_step;
    counted_.push_back(&state);
  }
  const at::ScalarType dtype = c10::toRealValueType(dense.scalar_type());
  const bool spans =
      host && (dtype == at::kFloat || dtype == at::kDouble) && !comes_and_goes(parameter);
  Run& run = run_for(spans, dtype, dense.device(), host ? state.host_step : 0, first);
  if (spans) {
    const int parts = dense.is_complex() ? 2 : 1;
    kernels::OptimizerSpan span{
        dense.mutable_data_ptr(), gradient.const_data_ptr(), {}, dense.numel() * parts};
    for (std::size_t i = 0; i < state.tensors.size(); ++i) {
      span.state[i] = group.needs.tensors[i] ? state.tensors[i].mutable_data_ptr() : nullptr;
    }
    run.spans.push_back(span);
    kept_.push_back(gradient);
    changed_.push_back(parameter.unsafeGetTensorImpl());
    return;
  }
  run.parameters.push_back(real_view(dense));
  run.gradients.push_back(real_view(gradient));
  for (std::size_t i = 0; i < state.tensors.size(); ++i) {
    if (group.needs.tensors[i]) {
      run.states[i].push_back(real_view(state.tensors[i]));
    }
  }
  run.steps.push_back(state.device_step);
}

// Apart from add: each waits for everything before it.
void Runs::bump_versions() {
  for (c10::TensorImpl* parameter : changed_) {
    parameter->bump_version();
  }
}

void Runs::finish() {
  for (const auto& [parameter, updated] : copy_back_) {
    parameter.copy_(updated);
  }
  clear();
}

void Runs::abandon() noexcept {
  for (FusedParamState* state : counted_) {
    --state->host_step;
  }
  clear();
}

void Runs::clear() noexcept {
  if (!runs_.empty()) {
    spare_ = std::move(runs_.front().spans);
    spare_.clear();
  }
  runs_.clear();
  last_ = 0;
  counted_.clear();
  changed_.clear();
  kept_.clear();
  copy_back_.clear();
}

}  // namespace fabric::detail
