// FabricModule: the handle of a set-up model, through which calls are routed.
#pragma once

#include <memory>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

#include <ATen/core/ivalue.h>
#include <c10/util/Type.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/nn/module.h>

#include <fabric/inference_entry.h>

namespace fabric {

namespace detail {
template <class M>
using MarkedEntries =
    typename MarkChain<typename MarkChain<EntryBase<M>, AttributedMarksOf<M>>::type,
                       decltype(marks_of<M>())>::type;

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
        core, EntryOptions{}, detail::kForwardEntry,
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
  ///     auto sample = model.register_forward_method(&NetImpl::sample, {.grad = "off"});
  ///
  /// The second form picks one of several overloads. The result is a value with the method's own
  /// parameter types and keeps the model alive.
  /// @throws MisconfigurationError for a null pointer, `forward` (it is an entry already), a method
  ///         registered before, and options that cannot work
  template <class Method>
    requires std::is_member_function_pointer_v<Method>
  auto register_forward_method(Method method, EntryOptions options = {}) const {
    return registered(std::string(), method, options);
  }
  template <class Signature>
    requires std::is_function_v<Signature>
  auto register_forward_method(typename detail::MethodOf<M, Signature>::type method,
                               EntryOptions options = {}) const {
    return registered(std::string(), method, options);
  }
  template <class Signature>
    requires std::is_function_v<Signature>
  auto register_forward_method(typename detail::MethodOf<M, Signature>::const_type method,
                               EntryOptions options = {}) const {
    return registered(std::string(), method, options);
  }
  /// The same for anything that is called with the module first: free functions, lambdas, methods
  /// that shall have a name in `entries()`.
  ///
  ///     auto score = model.register_forward_method("score", [](NetImpl& net, Tensor x) {
  ///       return net.head(net.encode(x)).sigmoid();
  ///     });
  template <class Callable>
    requires(!std::is_same_v<std::remove_cvref_t<Callable>, EntryOptions>)
  auto register_forward_method(std::string name, Callable callable,
                               EntryOptions options = {}) const {
    return registered(std::move(name), std::move(callable), options);
  }
  /// Not in C++: a method cannot be found by its name at run time.
  template <std::size_t N>
  void register_forward_method(const char (&)[N]) const {
    static_assert(N == 0,
                  "register_forward_method: C++ cannot find a method by its name at run time. Pass "
                  "the method, &Net::name, or a name and a callable. (A torch::jit::Module knows "
                  "its methods by name.)");
  }

  /// All that may be called through this handle: forward, marked, registered.
  const std::vector<Entry>& entries() const { return this->checked_core().entries; }

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

  /// The strategy's side of the model, and all handles share; for the toolkit itself.
  ManagedModel& managed() const { return *this->checked_core().managed; }
  detail::ModelCore& core() const { return this->checked_core(); }

 private:
  template <class Callable>
  auto registered(std::string name, Callable callable, EntryOptions options) const {
    detail::TypedCore<M>& core = this->checked_core();
    if constexpr (requires { callable == nullptr; }) {
      FABRIC_CHECK(Misconfiguration, callable != nullptr, "[fabric.register_forward_method] the ",
                   std::is_member_pointer_v<Callable> ? "method" : "callable",
                   " is null; expected ", "a method of ", core.label, " or a function over it");
    }
    bool is_forward = name == "forward";
    if constexpr (requires { callable == static_cast<Callable>(&M::forward); }) {
      is_forward |= callable == static_cast<Callable>(&M::forward);
    }
    FABRIC_CHECK(Misconfiguration, !is_forward, "[fabric.register_forward_method] forward is an ",
                 "entry of every model. Hint: call model.forward(…).");
    if constexpr (std::is_member_function_pointer_v<Callable>) {
      const bool named = !name.empty();
      detail::add_method_entry(core,
                               {named ? std::move(name) : c10::demangle(typeid(Callable).name()),
                                EntryOrigin::registered, options},
                               &callable, sizeof(callable), named);
    } else {
      detail::add_entry(core, {std::move(name), EntryOrigin::registered, options});
    }
    return InferenceEntry<M, Callable>(this->core_, std::move(callable), options);
  }
};

/// A method of a set-up TorchScript model. A value that keeps the model alive.
class RegisteredMethod {
 public:
  RegisteredMethod(std::shared_ptr<detail::TypedCore<torch::jit::Module>> core, std::string name,
                   EntryOptions options)
      : core_(std::move(core)), name_(std::move(name)), options_(options) {}

  template <class... Args>
    requires(std::is_constructible_v<c10::IValue, Args> && ...)
  c10::IValue operator()(Args&&... args) const {
    return run({c10::IValue(std::forward<Args>(args))...});
  }
  c10::IValue run(std::vector<c10::IValue> inputs) const;

 private:
  std::shared_ptr<detail::TypedCore<torch::jit::Module>> core_;
  std::string name_;
  EntryOptions options_;
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
  /// Tensors inside lists, tuples and dictionaries are converted like others.
  c10::IValue forward(std::vector<c10::IValue> inputs) const;
  template <class... Args>
    requires(std::is_constructible_v<c10::IValue, Args> && ...)
  c10::IValue operator()(Args&&... args) const {
    return forward({c10::IValue(std::forward<Args>(args))...});
  }

  /// Makes another method of the scripted model an entry: `run_method` then runs it through the
  /// strategy, and so does the returned value.
  ///
  ///     auto reset = model.register_forward_method("reset_states");
  ///     reset();                                        // or model.run_method("reset_states")
  ///
  /// @throws MisconfigurationError for a name that the model does not define, `forward`, and a
  ///         method registered before
  RegisteredMethod register_forward_method(const std::string& name,
                                           EntryOptions options = {}) const;
  /// Runs `forward` or a registered method.
  /// @throws RoutingError for a method that was not registered, with the list of those that were
  c10::IValue run_method(const std::string& name, std::vector<c10::IValue> inputs = {}) const;
  /// All that may be called through this handle: forward, registered.
  const std::vector<Entry>& entries() const { return checked_core().entries; }

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
  detail::ModelCore& core() const { return checked_core(); }
};

/// `torch::save(model, path)` and `torch::load(model, path)`: what they do for the user's own
/// module. Where parameters are cut over ranks they throw unless Fabric::full_parameters holds them
/// whole; Fabric::save writes a file that needs no such care.
template <class M>
  requires std::is_base_of_v<torch::nn::Module, M>
torch::serialize::OutputArchive& operator<<(torch::serialize::OutputArchive& archive,
                                            const FabricModule<M>& model) {
  model.module().save(archive);
  return archive;
}
template <class M>
  requires std::is_base_of_v<torch::nn::Module, M>
torch::serialize::InputArchive& operator>>(torch::serialize::InputArchive& archive,
                                           const FabricModule<M>& model) {
  model.module().load(archive);
  return archive;
}

namespace detail {

/// Where a model's tensors lie, what it is called and how it is moved: what setup needs of any of
/// the forms in which users hold a module.
struct ModuleView {
  std::string label;
  std::function<ModelTensors()> tensors;
  std::function<void(c10::Device)> move;
  std::function<bool()> training;
  std::function<std::function<void()>(bool)> switch_mode;  // see ModelCore
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
