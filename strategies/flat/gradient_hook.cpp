#include <strategies/flat/gradient_hook.h>

#include <mutex>
#include <utility>

#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/graph_task.h>
#include <torch/csrc/autograd/utils/lambda_post_hook.h>
#include <torch/csrc/autograd/variable.h>

namespace fabric {
namespace {

using torch::autograd::Node;
using torch::autograd::Variable;

// A frozen leaf has no accumulator and refuses hooks: what is attached while it briefly requires
// grad is found again by autograd after unfreezing, as long as somebody keeps it alive.
class BrieflyTrainable {
 public:
  explicit BrieflyTrainable(const at::Tensor& parameter)
      : parameter_(parameter), frozen_(!parameter.requires_grad()) {
    if (frozen_) {
      parameter_.requires_grad_(true);
    }
  }
  ~BrieflyTrainable() {
    if (frozen_) {
      parameter_.requires_grad_(false);
    }
  }

 private:
  const at::Tensor& parameter_;
  bool frozen_;
};

std::shared_ptr<Node> accumulator_of(const at::Tensor& parameter) {
  const BrieflyTrainable trainable(parameter);
  return torch::autograd::impl::grad_accumulator(parameter);
}

}  // namespace

GradientHook::GradientHook(const at::Tensor& parameter, std::function<void()> callback)
    : accumulator_(accumulator_of(parameter)) {
  using Variables = std::vector<Variable>;
  key_ = accumulator_->add_post_hook(std::make_unique<torch::autograd::utils::LambdaPostHook>(
      [callback = std::move(callback)](const Variables& outputs, const Variables&) {
        callback();
        return outputs;
      }));
}

GradientHook& GradientHook::operator=(GradientHook&& other) noexcept {
  if (this != &other) {
    remove();
    accumulator_ = std::move(other.accumulator_);
    key_ = other.key_;
  }
  return *this;
}

GradientHook::~GradientHook() {
  remove();
}

void GradientHook::remove() noexcept {
  if (accumulator_) {
    accumulator_->del_post_hook(key_);
    accumulator_.reset();
  }
}

bool GradientHook::attached(const at::Tensor& parameter) const {
  return accumulator_ && torch::autograd::impl::try_get_grad_accumulator(parameter) == accumulator_;
}

void forget_accumulator(const at::Tensor& parameter) {
  if (auto* meta = torch::autograd::impl::get_autograd_meta(parameter)) {
    const std::lock_guard lock(meta->mutex_);
    meta->grad_accumulator_.reset();
  }
}

GradientFilter::GradientFilter(const at::Tensor& parameter, Function filter)
    : parameter_(parameter) {
  const BrieflyTrainable trainable(parameter);
  position_ = parameter.register_hook(std::move(filter));
}

GradientFilter::GradientFilter(GradientFilter&& other) noexcept
    : parameter_(std::exchange(other.parameter_, {})), position_(other.position_) {}

GradientFilter& GradientFilter::operator=(GradientFilter&& other) noexcept {
  std::swap(parameter_, other.parameter_);
  std::swap(position_, other.position_);
  return *this;
}

GradientFilter::~GradientFilter() {
  if (parameter_.defined()) {
    parameter_.remove_hook(position_);
  }
}

int current_backward() {
  return torch::autograd::get_current_graph_task_id();
}

void at_end_of_backward(std::function<void()> finish, std::function<void()> abandon) {
  // The engine drops its callbacks unrun when the backward throws: this object notices.
  struct Ending {
    std::function<void()> finish;
    std::function<void()> abandon;
    bool ran = false;
    ~Ending() {
      if (!ran) {
        abandon();
      }
    }
  };
  auto ending = std::make_shared<Ending>();
  ending->finish = std::move(finish);
  ending->abandon = std::move(abandon);
  torch::autograd::Engine::get_default_engine().queue_callback([ending] {
    ending->ran = true;
    ending->finish();
  });
}

}  // namespace fabric
