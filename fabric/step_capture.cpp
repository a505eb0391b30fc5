#include <fabric/detail/step_capture.h>

#include <typeinfo>
#include <utility>

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <c10/util/Type.h>
#include <torch/optim/optimizer.h>

#include <accelerators/error.h>
#include <accelerators/ordinary_scope.h>
#include <fabric/to_device.h>
#include <strategies/capturable_optimizer.h>

namespace fabric::detail {
namespace {

// Calls that run as they are before one is recorded: state is made in the first, memory and
// libraries settle in the others.
constexpr int kWarmUps = 3;

thread_local CaptureScope* innermost = nullptr;

[[noreturn]] void refuse(const c10::Error& error) {
  FABRIC_CHECK(
      Misconfiguration, false,
      "[fabric.capture] the step cannot be recorded: ", error.what_without_backtrace(),
      " Hint: nothing in it may wait for the device ",
      "(item(), nonzero(), copies to the host); forbid_synchronisation.h lists what does.");
  __builtin_unreachable();
}

}  // namespace

CaptureScope::CaptureScope(std::vector<at::Tensor>& kept)
    : kept_(kept), outer_(std::exchange(innermost, this)) {
  kept_.clear();
}

CaptureScope::~CaptureScope() {
  innermost = outer_;
}

CaptureScope* CaptureScope::current() {
  return innermost;
}

void CaptureScope::use(torch::optim::Optimizer& optimizer, bool closure) {
  FABRIC_CHECK(Misconfiguration, !closure,
               "[fabric.capture] an optimizer's closure decides on the ",
               "host; expected optimizer.step() after fabric.backward(loss)");
  auto* capturable = dynamic_cast<CapturableOptimizer*>(&optimizer);
  FABRIC_CHECK(Misconfiguration, capturable != nullptr, "[fabric.capture] ",
               c10::demangle(typeid(optimizer).name()), " keeps numbers of its step on the host, ",
               "which a replay would repeat; expected an optimizer whose step can be recorded. ",
               "Hint: fabric::FusedAdamW and its kin, or fabric::fuse(optimizer).");
  const std::string obstacle = capturable->obstacle_to_capture();
  FABRIC_CHECK(Misconfiguration, obstacle.empty(), "[fabric.capture] the step of ",
               c10::demangle(typeid(optimizer).name()), " cannot be recorded: ", obstacle);
  for (const at::Tensor& tensor : capturable->tensors_in_use()) {
    kept_.push_back(tensor);
  }
  for (const torch::optim::OptimizerParamGroup& group : optimizer.param_groups()) {
    for (const at::Tensor& parameter : group.params()) {
      if (parameter.grad().defined()) {
        kept_.push_back(parameter.grad());
      }
    }
  }
}

StepCapture::StepCapture(std::unique_ptr<DeviceGraph> graph, c10::Device device, Hooks hooks)
    : graph_(std::move(graph)), device_(device), hooks_(std::move(hooks)) {}

void StepCapture::run(const std::vector<at::Tensor>& arguments, const Step& step) {
  check_arguments(arguments);
  take_inputs(arguments);
  if (!graph_) {
    run_scoped(step);
    inputs_.clear();
  } else if (recorded_) {
    graph_->replay();
  } else if (warm_ups_ < kWarmUps) {
    std::shared_ptr<void> forbidden;
    if (warm_ups_ == kWarmUps - 1) {
      forbidden = hooks_.forbid_synchronisation();  // whose errors say where it is
    }
    try {
      graph_->warm_up([&] { run_scoped(step); });
    } catch (const c10::Error& error) {
      if (forbidden) {
        refuse(error);
      }
      throw;
    }
    ++warm_ups_;
  } else {
    record(step);
    graph_->replay();
  }
}

void StepCapture::check_arguments(const std::vector<at::Tensor>& arguments) {
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    FABRIC_CHECK(Misconfiguration, arguments[i].defined() && !arguments[i].requires_grad(),
                 "[fabric.capture] argument ", i + 1, " is ",
                 arguments[i].defined() ? "part of a graph of autograd" : "undefined",
                 "; expected tensors that require no gradient. Hint: detach() it.");
  }
  if (!std::exchange(called_, true)) {
    for (const at::Tensor& argument : arguments) {
      signature_.push_back({argument.sizes().vec(), argument.scalar_type()});
    }
    return;
  }
  FABRIC_CHECK(Misconfiguration, arguments.size() == signature_.size(),
               "[fabric.capture] the number of arguments changed; got ", arguments.size(),
               "; expected ", signature_.size(), " as in the first call");
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    FABRIC_CHECK(Misconfiguration,
                 arguments[i].sizes() == at::IntArrayRef(signature_[i].sizes) &&
                     arguments[i].scalar_type() == signature_[i].dtype,
                 "[fabric.capture] argument ", i + 1, " changed; got ", arguments[i].scalar_type(),
                 " ", arguments[i].sizes(), "; expected ", signature_[i].dtype, " ",
                 at::IntArrayRef(signature_[i].sizes),
                 " as in the first call. Hint: a loader with ",
                 "{.drop_last = true}, or call the function itself for what differs.");
  }
}

void StepCapture::take_inputs(const std::vector<at::Tensor>& arguments) {
  const OrdinaryScope ordinary;
  if (!graph_) {
    inputs_.clear();
    for (const at::Tensor& argument : arguments) {
      inputs_.push_back(move_tensor(argument, device_));
    }
    return;
  }
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (i == inputs_.size()) {
      inputs_.push_back(at::empty_like(arguments[i], arguments[i].options().device(device_)));
    }
    inputs_[i].copy_(arguments[i], /*non_blocking=*/true);
  }
}

void StepCapture::run_scoped(const Step& step) {
  const CaptureScope scope(kept_);
  step(inputs_);
}

void StepCapture::record(const Step& step) {
  try {
    graph_->record([this, step] { run_scoped(step); });
  } catch (const c10::Error& error) {
    refuse(error);
  }
  // The graph has their addresses, whoever lets go of them.
  for (const at::Tensor& tensor : hooks_.tensors()) {
    kept_.push_back(tensor);
  }
  recorded_ = true;
}

}  // namespace fabric::detail
