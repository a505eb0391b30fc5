// The mark that makes a method of a module an entry of its FabricModule.
//
//     struct NetImpl : torch::nn::Module {
//       torch::Tensor forward(torch::Tensor x);
//       FABRIC_INFERENCE_ENTRY(evaluation_step)
//       torch::Tensor evaluation_step(torch::Tensor x, torch::Tensor y);
//     };
//
// `model->evaluation_step(x, y)` then runs through the strategy like `forward`; a method that is
// not marked does not compile there. Options follow the name as keyword arguments (see
// entry_options.h):
//
//       FABRIC_INFERENCE_ENTRY(generate, .grad = "inference_mode", .mode = "eval")
//
// How it works: every mark declares a mixin with one callable member and appends it to a list of
// types that overload resolution finds by rank; FabricModule inherits the whole list. Marks are
// numbered per class, so that headers may be included anywhere.
#pragma once

#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>

#include <fabric/attributed_entries.h>
#include <fabric/detail/model_core.h>

namespace fabric {
namespace detail {

template <int N>
struct MarkRank : MarkRank<N - 1> {};
template <>
struct MarkRank<0> {};
using TopMarkRank = MarkRank<512>;

template <class List, template <class> class Mixin>
struct AppendMark;
template <template <class> class... Mixins, template <class> class Mixin>
struct AppendMark<MarkList<Mixins...>, Mixin> {
  using type = MarkList<Mixins..., Mixin>;
};

/// Found by argument-dependent lookup at the first mark of a class; later ones find the class's
/// own.
MarkList<> fabric_marks(MarkRank<0>);

/// Inherits `Base` and one mixin a mark; the last mark is the most derived.
template <class Base, class List>
struct MarkChain;
template <class Base>
struct MarkChain<Base, MarkList<>> {
  using type = Base;
};
template <class Base, template <class> class First, template <class> class... Rest>
struct MarkChain<Base, MarkList<First, Rest...>> {
  using type = typename MarkChain<First<Base>, MarkList<Rest...>>::type;
};

template <class M>
concept Marked = requires { M::fabric_marks(TopMarkRank{}); };

// A class that has the name, accessible or not: a second base with the same name then makes every
// use of it ambiguous.
struct MarksElsewhere {
  static void fabric_marks();
};
template <class M>
struct MarksTwice : M, MarksElsewhere {};
template <class M>
constexpr bool has_marks_somewhere() {
  if constexpr (std::is_final_v<M> || !std::is_class_v<M>) {
    return false;
  } else {
    return !requires { &MarksTwice<M>::fabric_marks; };
  }
}

template <class M>
constexpr auto marks_of() {
  if constexpr (Marked<M>) {
    return decltype(M::fabric_marks(TopMarkRank{})){};
  } else {
    static_assert(!has_marks_somewhere<M>(),
                  "FABRIC_INFERENCE_ENTRY cannot be reached from outside the class. The mark must "
                  "stand in a public section; and if two base classes have marks, repeat the marks "
                  "you need in the derived class.");
    return MarkList<>{};
  }
}

template <class Method>
struct MethodSignature;
#define FABRIC_METHOD_SIGNATURE(QUALIFIERS)              \
  template <class R, class C, class... Args>             \
  struct MethodSignature<R (C::*)(Args...) QUALIFIERS> { \
    using type = R(Args...);                             \
  };
FABRIC_METHOD_SIGNATURE()
FABRIC_METHOD_SIGNATURE(const)
FABRIC_METHOD_SIGNATURE(noexcept)
FABRIC_METHOD_SIGNATURE(const noexcept)
FABRIC_METHOD_SIGNATURE(&)
FABRIC_METHOD_SIGNATURE(const&)
FABRIC_METHOD_SIGNATURE(& noexcept)
FABRIC_METHOD_SIGNATURE(const& noexcept)
#undef FABRIC_METHOD_SIGNATURE

template <class M>
std::shared_ptr<TypedCore<M>> with_entry(std::shared_ptr<TypedCore<M>> core, const char* name,
                                         EntryOrigin origin, const EntryOptions& options) {
  add_entry(*core, {name, origin, options});
  return core;
}

/// The innermost base of a FabricModule: the shared core.
template <class M>
class EntryBase {
 public:
  using FabricModuleType = M;
  EntryBase() = default;
  explicit EntryBase(std::shared_ptr<TypedCore<M>> core) : core_(std::move(core)) {}

 protected:
  TypedCore<M>& checked_core() const {
    FABRIC_CHECK(NotLaunched, core_ != nullptr,
                 "[fabric.module] this FabricModule is empty. Hint: ",
                 "assign what fabric.setup(…) returns before you use it.");
    return *core_;
  }
  std::shared_ptr<TypedCore<M>> core_;
};

/// R(Args...) from R(Module, Args...), where a callable takes the module first.
template <class M, class Signature>
struct WithoutModule {
  using type = void;
};
template <class M, class R, class Module, class... Args>
  requires std::is_convertible_v<M&, Module>
struct WithoutModule<M, R(Module, Args...)> {
  using type = R(Args...);
};

/// The pointers to methods of C with a given signature, for picking one of several overloads.
template <class C, class Signature>
struct MethodOf;
template <class C, class R, class... Args>
struct MethodOf<C, R(Args...)> {
  using type = R (C::*)(Args...);
  using const_type = R (C::*)(Args...) const;
};

/// Calls of an entry with the method's own parameter types, so that braced arguments work.
template <class Entry, class Signature>
struct TypedCall {
  void operator()(TypedCall&&) const = delete;  // a name for the using-declaration below
};
template <class Entry, class R, class... Args>
struct TypedCall<Entry, R(Args...)> {
  R operator()(Args... args) const {
    return static_cast<const Entry&>(*this).run(std::forward<Args>(args)...);
  }
};

/// The one signature of a callable over the module, without the module; void where it has several
/// (overloads, templates).
template <class M, class Callable>
constexpr auto entry_signature() {
  if constexpr (requires { typename Callable::template Method<M>; }) {  // a mark
    return std::type_identity<
        typename MethodSignature<typename Callable::template Method<M>>::type>{};
  } else if constexpr (std::is_member_function_pointer_v<Callable>) {
    return std::type_identity<typename MethodSignature<Callable>::type>{};
  } else if constexpr (std::is_pointer_v<Callable>) {
    return WithoutModule<M, std::remove_pointer_t<Callable>>{};
  } else if constexpr (requires { &Callable::operator(); }) {
    return WithoutModule<M, typename MethodSignature<decltype(&Callable::operator())>::type>{};
  } else {
    return std::type_identity<void>{};
  }
}
template <class M, class Callable>
using EntrySignature = typename decltype(entry_signature<M, Callable>())::type;
}  // namespace detail

/// A method of a set-up model, or a function over it, called through its strategy. A value: it may
/// be copied, stored and passed on, and keeps the model alive.
template <class M, class Callable>
class InferenceEntry
    : public detail::TypedCall<InferenceEntry<M, Callable>, detail::EntrySignature<M, Callable>> {
  using Typed = detail::TypedCall<InferenceEntry<M, Callable>, detail::EntrySignature<M, Callable>>;

 public:
  InferenceEntry() = default;
  InferenceEntry(std::shared_ptr<detail::TypedCore<M>> core, Callable callable,
                 const EntryOptions& options)
      : core_(std::move(core)),
        callable_(std::move(callable)),
        options_(options),
        number_(core_->entries.size()) {}

  using Typed::operator();
  /// Forwards whatever the method accepts: overloads, default arguments, templates.
  template <class... Args>
    requires std::is_invocable_v<Callable&, M&, Args...>
  decltype(auto) operator()(Args&&... args) const {
    return run(std::forward<Args>(args)...);
  }

 private:
  friend Typed;
  template <class... Args>
  decltype(auto) run(Args&&... args) const {
    FABRIC_CHECK(NotLaunched, core_ != nullptr, "[fabric.module] this entry belongs to an empty ",
                 "FabricModule. Hint: assign what fabric.setup(…) returns before you use it.");
    return detail::route(
        *core_, options_, number_,
        [this](auto&&... inner) -> decltype(auto) {
          return std::invoke(callable_, *core_->module, std::forward<decltype(inner)>(inner)...);
        },
        std::forward<Args>(args)...);
  }

  std::shared_ptr<detail::TypedCore<M>> core_;
  mutable Callable callable_{};  // a lambda may be mutable
  EntryOptions options_;
  std::uint64_t number_ = 0;  // among the entries of the model
};

}  // namespace fabric

/// Marks the method `NAME` of a module as an entry: see the head of this file. Put it above the
/// method, in a public section. What follows the name are fields of EntryOptions.
#define FABRIC_INFERENCE_ENTRY(NAME, ...)                                                        \
  FABRIC_ENTRY_MIXIN("FABRIC_INFERENCE_ENTRY", marked, NAME, __VA_ARGS__)                        \
  static auto fabric_marks(                                                                      \
      ::fabric::detail::MarkRank<decltype(fabric_marks(::fabric::detail::TopMarkRank{}))::size + \
                                 1>)                                                             \
      ->typename ::fabric::detail::AppendMark<                                                   \
          decltype(fabric_marks(::fabric::detail::TopMarkRank{})), FabricMark_##NAME>::type;
