// A callback each time a parameter's gradient has been accumulated.
//
// This file and its source are the only ones that know autograd's gradient accumulators; the test
// of the same name fails first when LibTorch changes them.
#pragma once

#include <functional>
#include <memory>

#include <ATen/core/Tensor.h>

namespace torch::autograd {
struct Node;
}

namespace fabric {

/// Calls back after autograd added to `parameter.grad()`, once per backward, on the thread that ran
/// the accumulation. Frozen parameters are hooked too and call back once they are unfrozen. The
/// hook ends with this object.
class GradientHook {
 public:
  GradientHook() = default;
  /// @param parameter a leaf of floating-point or complex dtype
  GradientHook(const at::Tensor& parameter, std::function<void()> callback);
  GradientHook(GradientHook&&) noexcept = default;
  GradientHook& operator=(GradientHook&& other) noexcept;
  ~GradientHook();

  /// Whether autograd would still run this hook. `parameter.set_data(...)` with another dtype or
  /// device makes a new accumulator, and the hook is lost.
  bool attached(const at::Tensor& parameter) const;

 private:
  void remove() noexcept;

  // Autograd holds accumulators weakly: keeping this one alive keeps the hook.
  std::shared_ptr<torch::autograd::Node> accumulator_;
  std::uintptr_t key_ = 0;
};

/// Makes autograd take a new accumulator for a parameter, as `set_data` does where dtype or device
/// change. Hooks of a GradientHook are lost, tensor hooks stay.
void forget_accumulator(const at::Tensor& parameter);

/// Passes every gradient of a parameter through a function before it is accumulated, on the thread
/// that runs the accumulation. Ends with this object.
class GradientFilter {
 public:
  using Function = std::function<at::Tensor(const at::Tensor& gradient)>;
  GradientFilter() = default;
  GradientFilter(const at::Tensor& parameter, Function filter);
  GradientFilter(GradientFilter&& other) noexcept;
  GradientFilter& operator=(GradientFilter&& other) noexcept;
  ~GradientFilter();

 private:
  at::Tensor parameter_;
  unsigned position_ = 0;
};

/// A number of the backward that is running on this thread; nested backwards have their own.
int current_backward();

/// Runs `finish` when the backward that is running on this thread ends. If it ends by an exception
/// instead, `abandon` runs (from a destructor: it must not throw).
void at_end_of_backward(std::function<void()> finish, std::function<void()> abandon);

}  // namespace fabric
