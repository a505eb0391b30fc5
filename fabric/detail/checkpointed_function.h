// What fabric::checkpoint calls, how it is kept for backward, and the call itself.
#pragma once

#include <functional>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/nn/modules/container/any.h>

#include <fabric/detail/checkpointed_call.h>
#include <fabric/module.h>
#include <fabric/structure.h>

namespace fabric::detail {

/// The forward of a module as a function that keeps the module alive.
template <class M>
struct ModuleForward {
  std::shared_ptr<M> module;
  template <class... Args>
    requires HasForward<M, Args...>
  decltype(auto) operator()(Args&&... args) const {
    return module->forward(std::forward<Args>(args)...);
  }
};

struct AnyModuleForward {
  torch::nn::AnyModule module;
  template <class... Args>
  at::Tensor operator()(Args&&... args) {
    return module.forward(std::forward<Args>(args)...);
  }
};

struct ScriptForward {
  torch::jit::Module module;
  template <class... Args>
    requires(std::is_constructible_v<c10::IValue, Args> && ...)
  c10::IValue operator()(Args&&... args) {
    return module.forward({c10::IValue(std::forward<Args>(args))...});
  }
};

/// A module that its owner passes by reference or pointer: owned where anybody owns it by a
/// shared pointer, else (on the stack) only pointed to.
template <class M>
ModuleForward<M> forward_of_reference(M& module) {
  if (auto owner = module.weak_from_this().lock()) {
    return {std::shared_ptr<M>(std::move(owner), std::addressof(module))};
  }
  return {std::shared_ptr<M>(std::shared_ptr<void>(), std::addressof(module))};
}

template <class T>
inline constexpr bool is_module = std::is_base_of_v<torch::nn::Module, T>;

/// What is called for `function`: modules by their forward, anything else as it is.
template <class Function>
decltype(auto) checkpointed_function(Function&& function) {
  using Plain = std::remove_cvref_t<Function>;
  if constexpr (ModuleHolder<Plain>) {
    FABRIC_CHECK(Misconfiguration, !function.is_empty(), "[fabric.checkpoint] the module holder ",
                 "is empty (it was made from nullptr). Hint: construct the module first.");
    return ModuleForward<typename Plain::ContainedType>{function.ptr()};
  } else if constexpr (SharedModule<Plain>) {
    FABRIC_CHECK(Misconfiguration, function != nullptr,
                 "[fabric.checkpoint] the module pointer is null");
    return ModuleForward<typename Plain::element_type>{function};
  } else if constexpr (std::is_same_v<Plain, torch::nn::AnyModule>) {
    FABRIC_CHECK(Misconfiguration, !function.is_empty(),
                 "[fabric.checkpoint] the AnyModule is empty");
    return AnyModuleForward{function};
  } else if constexpr (std::is_base_of_v<torch::jit::Module, Plain>) {
    return ScriptForward{function};
  } else if constexpr (std::is_pointer_v<Plain> && is_module<std::remove_pointer_t<Plain>>) {
    FABRIC_CHECK(Misconfiguration, function != nullptr,
                 "[fabric.checkpoint] the module pointer is null");
    return forward_of_reference(*function);
  } else if constexpr (is_module<Plain>) {
    static_assert(std::is_lvalue_reference_v<Function>,
                  "fabric::checkpoint was given a temporary module: backward runs it again.");
    return forward_of_reference(function);
  } else {
    return std::forward<Function>(function);
  }
}

/// An argument as the second run passes it: the kept copy with the category of the original.
template <class Arg>
using PassedAgain = std::conditional_t<std::is_same_v<std::decay_t<Arg>, std::remove_cvref_t<Arg>>,
                                       Arg&&, std::decay_t<Arg>&>;

/// A call as it is kept for backward. Each run works on copies, so that a function or an argument
/// that changes itself begins anew.
template <class Result, class Function, class... Args>
class KeptCall final : public RepeatableCall {
 public:
  explicit KeptCall(const Function& function, const Args&... args)
      : function_(function), args_(args...) {}

  std::vector<at::Tensor> arguments() const override {
    std::vector<at::Tensor> tensors;
    std::apply([&](const auto&... args) { (collect(args, tensors), ...); }, args_);
    return tensors;
  }

  std::vector<at::Tensor> run() const override {
    auto function = function_;
    auto args = args_;
    std::vector<at::Tensor> tensors;
    collect(std::apply(
                [&](auto&... arg) -> Result {
                  return std::invoke(static_cast<PassedAgain<Function>>(function),
                                     static_cast<PassedAgain<Args>>(arg)...);
                },
                args),
            tensors);
    return tensors;
  }

 private:
  template <class T>
  static void collect(const T& value, std::vector<at::Tensor>& tensors) {
    if constexpr (holds_tensors<T>()) {
      map_tensors(T(value), [&](const at::Tensor& tensor) {
        tensors.push_back(tensor);
        return tensor;
      });
    }
  }

  std::decay_t<Function> function_;
  std::tuple<std::decay_t<Args>...> args_;
};

/// The module whose forward a function is; null where it is none that we know.
template <class Function>
torch::nn::Module* module_of(const Function&) {
  return nullptr;
}
template <class M>
torch::nn::Module* module_of(const ModuleForward<M>& function) {
  return function.module.get();
}
inline torch::nn::Module* module_of(const AnyModuleForward& function) {
  return function.module.ptr().get();
}
template <class M>
  requires is_module<M>
torch::nn::Module* module_of(const FabricModule<M>& function) {
  return &function.module();
}

template <class Function, class... Args>
auto run_checkpointed(const CheckpointOptions& options, Function&& function, Args&&... args) {
  static_assert(std::is_invocable_v<Function, Args...>,
                "fabric::checkpoint: the function, or the forward of the module, cannot be called "
                "with these arguments. (A shared_ptr<torch::nn::Module> has no forward: pass "
                "block->as<Block>().)");
  using Result = std::decay_t<std::invoke_result_t<Function, Args...>>;
  static_assert(holds_tensors<Result>(),
                "fabric::checkpoint: the function returns nothing that gradients could flow from; "
                "expected a tensor, or a container, tuple or plain struct of tensors.");
  static_assert(std::is_copy_constructible_v<std::decay_t<Function>>,
                "fabric::checkpoint: the function is copied for backward. Capture copyable values "
                "(std::shared_ptr for std::unique_ptr).");
  static_assert((std::is_copy_constructible_v<std::decay_t<Args>> && ...),
                "fabric::checkpoint: arguments are copied for backward. Pass copyable values "
                "(std::shared_ptr for std::unique_ptr, std::ref for what outlives backward).");
  if (!CheckpointedCall::wanted(module_of(function))) {
    return Result(std::invoke(std::forward<Function>(function), std::forward<Args>(args)...));
  }
  CheckpointedCall call(options, module_of(function),
                        std::make_shared<KeptCall<Result, Function, Args...>>(function, args...));
  std::vector<at::Tensor> tensors;
  Result result = map_tensors(
      Result(std::invoke(std::forward<Function>(function), std::forward<Args>(args)...)),
      [&](const at::Tensor& tensor) {
        tensors.push_back(tensor);
        return tensor;
      });
  tensors = call.finish(std::move(tensors));
  auto next = tensors.begin();
  return map_tensors(std::move(result), [&](const at::Tensor&) { return *next++; });
}

}  // namespace fabric::detail
