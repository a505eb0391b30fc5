// What all handles of one set-up model share, and the routed call.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <typeindex>
#include <utility>
#include <vector>

#include <c10/core/Device.h>

#include <accelerators/error.h>
#include <fabric/detail/entry_scope.h>
#include <fabric/detail/unrouted_guard.h>
#include <fabric/entries.h>
#include <fabric/structure.h>
#include <strategies/flat/parameter_use.h>
#include <strategies/precision/grad_scaler.h>
#include <strategies/precision/precision.h>
#include <strategies/strategy.h>

namespace fabric::detail {

class LeftOutModules;

/// The number of `forward` among entries.
inline constexpr std::uint64_t kForwardEntry = 1;

/// Shared by the handles and entries of one model.
struct ModelCore {
  std::string label;  ///< what texts call it ("Net")
  std::shared_ptr<ManagedModel> managed;
  std::shared_ptr<Precision> precision;
  std::shared_ptr<GradScaler> scaler;  ///< null unless losses are scaled
  c10::Device device = c10::Device(c10::kCPU);
  std::function<bool()> training;
  /// Puts all submodules in training or evaluation; the result brings back what each was in. Null
  /// where nothing had to change.
  std::function<std::function<void()>(bool)> switch_mode;
  std::optional<at::ScalarType> input_dtype;  ///< what the strategy wants of routed calls
  std::optional<at::ScalarType> output_dtype;
  bool channels_last = false;                   ///< what inputs are brought to
  bool guards_outputs = false;                  ///< outputs refuse a backward that is not Fabric's
  std::vector<Entry> entries;                   ///< forward, marked and registered, in this order
  std::vector<std::string> registered_methods;  ///< their pointers, as bytes
  std::shared_ptr<UnroutedGuard> guard;
  std::shared_ptr<LeftOutModules> left_out;  ///< modules that are not checkpointed
  std::vector<at::Tensor> parameters;        ///< kept so that their identity stays theirs
  std::function<bool()> abandoned;           ///< whether the user's module is gone
  std::shared_ptr<Strategy> strategy;        ///< lives as long as any handle
};

/// The same with the user's module.
template <class M>
struct TypedCore : ModelCore {
  std::shared_ptr<M> module;  ///< owns it, or only points to a module on the user's stack
};

/// Adds an entry to `core.entries`; a marked one replaces an entry of the same name (a derived
/// class may mark again).
/// @throws MisconfigurationError for a registered name that is taken, for options that cannot work
void add_entry(ModelCore& core, Entry entry);

/// The same for a method of the class, known by its pointer.
/// @param named whether the user gave the name; its type is numbered where another has the same
/// @throws MisconfigurationError also when this very method was registered before
void add_method_entry(ModelCore& core, Entry entry, const void* pointer, std::size_t size,
                      bool named);

/// One outermost call of a model through its strategy. Ends what it began, on exceptions too.
class RoutedCall {
 public:
  /// @param entry which entry it is, for strategies that remember what each of them does
  RoutedCall(ModelCore& core, const EntryOptions& options, std::uint64_t entry);
  ~RoutedCall();
  RoutedCall(const RoutedCall&) = delete;
  RoutedCall& operator=(const RoutedCall&) = delete;

  /// Whether this thread is inside a routed call of `core`: further calls then run plainly.
  static bool inside(const ModelCore& core);

  /// What this call computes in.
  const Precision& precision() const { return own_precision_ ? *own_precision_ : *core_.precision; }
  /// Whether inputs and outputs have to be looked at.
  bool treats_values() const {
    return precision().converts() || core_.guards_outputs || core_.channels_last ||
           core_.input_dtype || core_.output_dtype;
  }
  at::Tensor treat_input(const at::Tensor& input) const;
  at::Tensor treat_output(const at::Tensor& output, at::ScalarType dtype) const;

 private:
  friend class OpenCalls;

  ModelCore& core_;
  RoutedCall* outer_;
  EntryScope entry_;
  std::optional<Precision> own_precision_;
  Precision::Scope precision_;
  RoutedScope uses_;
};

/// The models this thread is inside routed calls of. A function that backward runs again takes it
/// along: calls that were nested the first time run plainly again.
class OpenCalls {
 public:
  static OpenCalls now();
  /// Whether a Scope is open on this thread.
  static bool running_again();

  class Scope {
   public:
    explicit Scope(const OpenCalls& first);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    RoutedCall* innermost_before_;
    const OpenCalls* again_before_;
  };

 private:
  friend class RoutedCall;
  std::vector<const ModelCore*> models_;  // compared, never looked into
};

template <class T>
constexpr bool holds_tensors();

template <class Aggregate, std::size_t... I>
constexpr bool any_field_holds_tensors(std::index_sequence<I...>) {
  return (holds_tensors<boost::pfr::tuple_element_t<I, Aggregate>>() || ...);
}

template <class... Elements>
constexpr bool any_holds_tensors(std::type_identity<std::tuple<Elements...>>) {
  return (holds_tensors<Elements>() || ...);
}
template <class A, class B>
constexpr bool any_holds_tensors(std::type_identity<std::pair<A, B>>) {
  return holds_tensors<A>() || holds_tensors<B>();
}

/// Whether a value of type T can hold tensors that map_tensors reaches.
template <class T>
constexpr bool holds_tensors() {
  if constexpr (std::is_base_of_v<at::Tensor, T> || std::is_same_v<T, c10::IValue>) {
    return true;
  } else if constexpr (is_instance_of<T, std::optional> || is_sequence<T>) {
    return holds_tensors<typename T::value_type>();
  } else if constexpr (is_map<T>) {
    return holds_tensors<typename T::mapped_type>();
  } else if constexpr (is_tuple<T>) {
    return any_holds_tensors(std::type_identity<T>{});
  } else if constexpr (is_example<T> || is_tensor_example<T>) {
    return true;
  } else if constexpr (PlainAggregate<T>) {
    return any_field_holds_tensors<T>(std::make_index_sequence<boost::pfr::tuple_size_v<T>>{});
  } else {
    return false;
  }
}

/// An argument as a routed call passes it on: converted copies of what holds tensors, everything
/// else (streams, options, move-only objects) by the reference it came with.
template <class Arg>
using ConvertedArgument =
    std::conditional_t<holds_tensors<std::remove_cvref_t<Arg>>(), std::remove_cvref_t<Arg>, Arg&&>;

template <class Arg>
ConvertedArgument<Arg> convert_argument(const RoutedCall& call, Arg&& argument) {
  if constexpr (holds_tensors<std::remove_cvref_t<Arg>>()) {
    return map_tensors<std::remove_cvref_t<Arg>>(
        std::forward<Arg>(argument),
        [&](const at::Tensor& tensor) { return call.treat_input(tensor); });
  } else {
    return std::forward<Arg>(argument);
  }
}

template <class Function, class... Args, std::size_t... I>
decltype(auto) call_converted(const RoutedCall& call, at::ScalarType output_dtype,
                              Function&& function, std::index_sequence<I...>, Args&&... args) {
  std::tuple<ConvertedArgument<Args>...> held{
      convert_argument<Args>(call, std::forward<Args>(args))...};
  using Result = std::invoke_result_t<Function, Args...>;
  if constexpr (std::is_void_v<Result> || std::is_reference_v<Result> ||
                !holds_tensors<std::remove_cv_t<Result>>()) {
    return std::invoke(std::forward<Function>(function), static_cast<Args&&>(std::get<I>(held))...);
  } else {
    return map_tensors<Result>(
        std::invoke(std::forward<Function>(function), static_cast<Args&&>(std::get<I>(held))...),
        [&](const at::Tensor& tensor) { return call.treat_output(tensor, output_dtype); });
  }
}

/// The one code path of every call through a FabricModule: converts inputs, enters the entry's
/// modes and precision, lets the strategy prepare, runs `function` on the plain module, and
/// converts outputs. Inside another routed call of the same model it only runs `function`.
/// @param entry which entry it is, the same in every run of one program
template <class Function, class... Args>
std::invoke_result_t<Function, Args...> route(ModelCore& core, const EntryOptions& options,
                                              std::uint64_t entry, Function&& function,
                                              Args&&... args) {
  if (RoutedCall::inside(core)) {
    return std::invoke(std::forward<Function>(function), std::forward<Args>(args)...);
  }
  const at::ScalarType output_dtype = Precision::output_dtype();
  const RoutedCall call(core, options, entry);
  if (!call.treats_values()) {
    return std::invoke(std::forward<Function>(function), std::forward<Args>(args)...);
  }
  return call_converted(call, output_dtype, std::forward<Function>(function),
                        std::index_sequence_for<Args...>{}, std::forward<Args>(args)...);
}

/// One routed call over several models: each is prepared once, then `function` runs.
template <class Function, class... Rest>
std::invoke_result_t<Function> route_all(Function&& function, ModelCore& first, Rest&... rest) {
  // One number for all functions of one type: two that are called in turn only cost prefetching.
  const auto entry = std::type_index(typeid(Function)).hash_code();
  return route(first, EntryOptions{}, entry, [&]() -> std::invoke_result_t<Function> {
    if constexpr (sizeof...(Rest) == 0) {
      return std::invoke(std::forward<Function>(function));
    } else {
      return route_all(std::forward<Function>(function), rest...);
    }
  });
}

}  // namespace fabric::detail
