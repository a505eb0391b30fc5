// FabricModule: the handle of a set-up model, through which calls are routed.
#pragma once

#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <ATen/core/ivalue.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/nn/module.h>

#include <fabric/inference_entry.h>

namespace fabric {

/// A registered method of a set-up model (see FabricModule::register_forward_method).
template <class M, class Method, class Signature>
class RegisteredEntry;

template <class M, class Method, class R, class... Args>
class RegisteredEntry<M, Method, R(Args...)> {
 public:
  RegisteredEntry(std::shared_ptr<detail::TypedCore<M>> core, Method method)
      : core_(std::move(core)), method_(method) {}

  R operator()(Args... args) const {
    M& module = *core_->module;
    return detail::route(
        *core_,
        [&module, this](auto&&... inner) -> R {
          return (module.*method_)(std::forward<decltype(inner)>(inner)...);
        },
        std::forward<Args>(args)...);
  }

 private:
  std::shared_ptr<detail::TypedCore<M>> core_;
  Method method_;
};

namespace detail {
template <class M>
using MarkedEntries = typename MarkChain<EntryBase<M>, decltype(marks_of<M>())>::type;

// Where no call is wanted with these arguments the error should be the user's forward, not ours.
template <class M, class... Args>
concept HasForward =
    requires(M& module, Args&&... args) { module.forward(std::forward<Args>(args)...); };
}  // namespace detail

/// A model as `fabric.setup` returns it: a small copyable handle. `forward`, marked entries and
/// registered methods go through the strategy; `module()` is the user's own object. `->` and `.` do
/// the same, so that code written for a LibTorch module holder compiles.
///
/// A default-constructed FabricModule is empty; using it throws NotLaunchedError.
/// Calls nested inside a routed call of the same model run plainly.
template <class M>
class FabricModule : public detail::MarkedEntries<M> {
  using Base = detail::MarkedEntries<M>;

 public:
  FabricModule() = default;
  explicit FabricModule(std::shared_ptr<detail::TypedCore<M>> core) : Base(std::move(core)) {}

  /// Runs the model's `forward` through the strategy.
  template <class... Args>
    requires detail::HasForward<M, Args...>
  decltype(auto) forward(Args&&... args) const {
    detail::TypedCore<M>& core = this->checked_core();
    M& module = *core.module;
    return detail::route(
        core,
        [&module](auto&&... inner) -> decltype(auto) {
          return module.forward(std::forward<decltype(inner)>(inner)...);
        },
        std::forward<Args>(args)...);
  }
  template <class... Args>
    requires detail::HasForward<M, Args...>
  decltype(auto) operator()(Args&&... args) const {
    return forward(std::forward<Args>(args)...);
  }

  /// Makes a method of the model callable through the strategy; nothing in the class is needed.
  ///
  ///     auto encode = model.register_forward_method(&NetImpl::encode);
  ///     auto scaled = model.register_forward_method<Tensor(Tensor, double)>(&NetImpl::apply);
  ///
  /// The second form picks one of several overloads. The result is a value with the method's own
  /// parameter types and keeps the model alive.
  template <class Method>
    requires std::is_member_function_pointer_v<Method>
  auto register_forward_method(Method method) const {
    using Signature = typename detail::MethodSignature<Method>::type;
    return registered<Signature>(method);
  }
  template <class Signature>
    requires std::is_function_v<Signature>
  auto register_forward_method(typename detail::MethodOf<M, Signature>::type method) const {
    return registered<Signature>(method);
  }
  template <class Signature>
    requires std::is_function_v<Signature>
  auto register_forward_method(typename detail::MethodOf<M, Signature>::const_type method) const {
    return registered<Signature>(method);
  }

  /// The user's own object. Calls on it are not routed; gradients are synchronised all the same.
  M& module() const { return *this->checked_core().module; }

  FabricModule* operator->() { return this; }
  const FabricModule* operator->() const { return this; }
  explicit operator bool() const { return this->core_ != nullptr; }

  std::vector<at::Tensor> parameters(bool recurse = true) const {
    return module().parameters(recurse);
  }
  auto named_parameters(bool recurse = true) const { return module().named_parameters(recurse); }
  std::vector<at::Tensor> buffers(bool recurse = true) const { return module().buffers(recurse); }
  auto named_buffers(bool recurse = true) const { return module().named_buffers(recurse); }
  void train(bool on = true) const { module().train(on); }
  void eval() const { module().eval(); }
  bool is_training() const { return module().is_training(); }
  void zero_grad(bool set_to_none = true) const { module().zero_grad(set_to_none); }
  /// Converts or moves the model as LibTorch does. Moving it off the device it was set up on is an
  /// error at its next use under a distributed strategy.
  template <class... Args>
  void to(Args&&... args) const {
    module().to(std::forward<Args>(args)...);
  }
  /// The device it was set up on.
  c10::Device device() const { return this->checked_core().device; }
  /// What texts call it.
  const std::string& name() const { return this->checked_core().label; }

  /// The strategy's side of the model; for the toolkit itself.
  ManagedModel& managed() const { return *this->checked_core().managed; }

 private:
  template <class Signature, class Method>
  auto registered(Method method) const {
    FABRIC_CHECK(Misconfiguration, method != nullptr,
                 "[fabric.register_forward_method] the method ",
                 "is null; expected a pointer to a method of ", name());
    this->checked_core();
    return RegisteredEntry<M, Method, Signature>(this->core_, method);
  }
};

/// A TorchScript model. `forward` takes the inputs as TorchScript values and returns one.
template <>
class FabricModule<torch::jit::Module> : public detail::EntryBase<torch::jit::Module> {
  using Module = torch::jit::Module;

 public:
  FabricModule() = default;
  explicit FabricModule(std::shared_ptr<detail::TypedCore<Module>> core)
      : EntryBase(std::move(core)) {}

  /// Runs the scripted `forward` through the strategy: `model->forward({x})` or `model(x)`.
  c10::IValue forward(std::vector<c10::IValue> inputs) const;
  template <class... Args>
    requires(std::is_constructible_v<c10::IValue, Args> && ...)
  c10::IValue operator()(Args&&... args) const {
    return forward({c10::IValue(std::forward<Args>(args))...});
  }

  Module& module() const { return *checked_core().module; }
  FabricModule* operator->() { return this; }
  const FabricModule* operator->() const { return this; }
  explicit operator bool() const { return core_ != nullptr; }

  std::vector<at::Tensor> parameters(bool recurse = true) const;
  std::vector<at::Tensor> buffers(bool recurse = true) const;
  void train(bool on = true) const { module().train(on); }
  void eval() const { module().eval(); }
  bool is_training() const { return module().is_training(); }
  void zero_grad(bool set_to_none = true) const;
  c10::Device device() const { return checked_core().device; }
  const std::string& name() const { return checked_core().label; }
  ManagedModel& managed() const { return *checked_core().managed; }
};

namespace detail {

/// Where a model's tensors lie, what it is called and how it is moved: what setup needs of any of
/// the forms in which users hold a module.
struct ModuleView {
  std::string label;
  std::function<ModelTensors()> tensors;
  std::function<void(c10::Device)> move;
  std::function<void(at::ScalarType)> convert;
  std::function<bool()> training;
};

ModuleView view_of(torch::nn::Module& module);
ModuleView view_of(torch::jit::Module& module);

/// One BatchNorm layer of a model: its name and the tensor by which it is recognised.
struct BatchNormLayer {
  std::string name;
  at::Tensor anchor;  ///< running_mean, else weight, else undefined
};

std::vector<BatchNormLayer> batch_norms_of(torch::nn::Module& module);
std::vector<BatchNormLayer> batch_norms_of(torch::jit::Module& module);

template <class T>
inline constexpr bool is_fabric_module = false;
template <class M>
inline constexpr bool is_fabric_module<FabricModule<M>> = true;

template <class T>
concept ModuleHolder = requires(T& holder) {
  typename T::ContainedType;
  { holder.ptr() } -> std::convertible_to<std::shared_ptr<typename T::ContainedType>>;
};
template <class T>
concept SharedModule = requires(T& pointer) {
  typename T::element_type;
  requires std::is_same_v<T, std::shared_ptr<typename T::element_type>>;
  requires std::is_base_of_v<torch::nn::Module, typename T::element_type>;
};

/// Brings any form of module to a shared pointer; one on the stack is pointed to, not owned.
template <class T>
auto shared_module(T&& model) {
  using Plain = std::remove_cvref_t<T>;
  if constexpr (ModuleHolder<Plain>) {
    FABRIC_CHECK(Misconfiguration, !model.is_empty(), "[fabric.setup] the module holder is empty ",
                 "(it was made from nullptr). Hint: construct the module first.");
    return std::shared_ptr<typename Plain::ContainedType>(model.ptr());
  } else if constexpr (SharedModule<Plain>) {
    FABRIC_CHECK(Misconfiguration, model != nullptr, "[fabric.setup] the module pointer is null. ",
                 "Hint: construct the module first.");
    return Plain(std::forward<T>(model));
  } else if constexpr (std::is_base_of_v<torch::jit::Module, Plain>) {
    // A jit::Module is itself a handle: a copy refers to the same object.
    return std::make_shared<torch::jit::Module>(model);
  } else if constexpr (is_fabric_module<Plain>) {
    static_assert(!is_fabric_module<Plain>,
                  "fabric.setup was given a FabricModule: the model has been set up already. Use "
                  "the FabricModule as it is, or set up another module.");
  } else if constexpr (std::is_base_of_v<torch::nn::Module, Plain>) {
    static_assert(std::is_lvalue_reference_v<T>,
                  "fabric.setup was given a temporary module: nobody would own it afterwards. Pass "
                  "std::make_shared<Net>(…), a module holder (TORCH_MODULE), or a variable.");
    return std::shared_ptr<Plain>(std::shared_ptr<void>(), std::addressof(model));
  } else {
    static_assert(std::is_base_of_v<torch::nn::Module, Plain>,
                  "fabric.setup expects a torch::nn::Module (a variable, std::shared_ptr or module "
                  "holder) or a torch::jit::Module.");
  }
}

template <class T>
using ModuleTypeOf = typename decltype(shared_module(std::declval<T>()))::element_type;

}  // namespace detail
}  // namespace fabric
