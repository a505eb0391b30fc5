// A training step that a device repeats by itself (see Fabric::capture).
#pragma once

#include <any>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include <fabric/detail/step_capture.h>
#include <fabric/structure.h>

namespace fabric {

/// A function of tensors whose work the device repeats: what `fabric.capture` returns. A small
/// handle; copies are the same step.
template <class Function>
class CapturedStep {
 public:
  CapturedStep(Function function, std::shared_ptr<detail::StepCapture> capture)
      : shared_(std::make_shared<Shared>(std::move(function), std::move(capture))) {}

  /// One step. Returns what the function returns, tensors detached; they are the caller's, the next
  /// step does not touch them.
  /// @param arguments tensors, of the shapes and dtypes of the first call; they may lie on the host
  template <class... Tensors>
    requires(std::is_base_of_v<at::Tensor, Tensors> && ...)
  auto operator()(const Tensors&... arguments) const {
    return call(std::index_sequence_for<Tensors...>{}, arguments...);
  }

  /// Whether steps are replayed by now; never where there are no graphs.
  bool replays() const { return shared_->capture->replays(); }

 private:
  struct Shared {
    Shared(Function given, std::shared_ptr<detail::StepCapture> core)
        : function(std::move(given)), capture(std::move(core)) {}
    Function function;
    std::shared_ptr<detail::StepCapture> capture;
    std::any result;  // after the capture, so that it goes first
  };

  template <class T>
  using Input = at::Tensor;

  template <std::size_t... I, class... Tensors>
  auto call(std::index_sequence<I...>, const Tensors&... arguments) const {
    using Result = std::invoke_result_t<Function&, Input<Tensors>...>;
    Shared* shared = shared_.get();
    const std::vector<at::Tensor> given{arguments...};
    if constexpr (std::is_void_v<Result>) {
      shared->capture->run(given, [shared](const std::vector<at::Tensor>& inputs) {
        std::invoke(shared->function, at::Tensor(inputs[I])...);
      });
    } else {
      using Value = std::remove_cvref_t<Result>;
      shared->capture->run(given, [shared](const std::vector<at::Tensor>& inputs) {
        // Detached: the graph of autograd, and the memory it holds, end with the step.
        shared->result =
            map_tensors<Value>(std::invoke(shared->function, at::Tensor(inputs[I])...),
                               [](const at::Tensor& tensor) { return tensor.detach(); });
      });
      const bool overwritten = shared->capture->replays();
      Value result = map_tensors<Value>(
          std::any_cast<const Value&>(shared->result),
          [&](const at::Tensor& tensor) { return overwritten ? tensor.clone() : tensor; });
      if (!overwritten) {
        shared->result.reset();
      }
      return result;
    }
  }

  std::shared_ptr<Shared> shared_;
};

}  // namespace fabric
