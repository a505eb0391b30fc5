// What stands behind [[fabric::inference_entry]]: the lists that fabric_inference_entries(target)
// generates, and the one mixin behind them and FABRIC_INFERENCE_ENTRY.
//
// A class cannot be told to have members from outside, and a header of somebody else may define it
// after the generated one was included. So the lists are found by the class's name (its hash), and
// the types in them are completed when a FabricModule of the class is. Includes no LibTorch: every
// source of a target with attributes includes it first.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>

#include <fabric/entries.h>

namespace fabric {

template <class M, class Callable>
class InferenceEntry;

namespace detail {

template <class M>
struct TypedCore;
template <class M>
std::shared_ptr<TypedCore<M>> with_entry(std::shared_ptr<TypedCore<M>> core, const char* name,
                                         EntryOrigin origin, const EntryOptions& options);

template <template <class> class... Mixins>
struct MarkList {
  static constexpr int size = sizeof...(Mixins);
};

template <template <class> class... First, template <class> class... Second>
MarkList<First..., Second...> operator+(MarkList<First...>, MarkList<Second...>);

/// Whether FabricModule has a member of this name itself.
constexpr bool is_reserved_entry(std::string_view name) {
  for (const std::string_view reserved :
       {"forward", "module", "parameters", "named_parameters", "buffers", "named_buffers", "train",
        "eval", "is_training", "to", "zero_grad", "device", "name", "register_forward_method",
        "core", "managed", "entries", "run_method"}) {
    if (name == reserved) {
      return true;
    }
  }
  return false;
}

/// FNV-1a; the generator computes the same.
constexpr std::uint64_t add_to_hash(std::uint64_t hash, std::string_view text) {
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  }
  return hash;
}

/// The hash of a class's qualified name, "my::Net" for my::Net<float> too. An unnamed namespace is
/// written "{anonymous}".
template <class M>
constexpr std::uint64_t class_name_hash() {
  // "… [with M = my::Net<float>; …]" from g++, "… [M = my::Net<float>]" from clang.
  std::string_view name = __PRETTY_FUNCTION__;
  name.remove_prefix(name.find("M = ") + 4);
  constexpr std::string_view clangs_unnamed = "(anonymous namespace)";
  std::uint64_t hash = 0xcbf29ce484222325U;
  int depth = 0;
  while (!name.empty()) {
    if (depth == 0 && name.starts_with(clangs_unnamed)) {
      hash = add_to_hash(hash, "{anonymous}");
      name.remove_prefix(clangs_unnamed.size());
      continue;
    }
    const char c = name.front();
    if (depth == 0 && (c == ';' || c == ']')) {
      break;
    }
    depth += c == '<' ? 1 : 0;
    if (depth == 0) {
      hash = add_to_hash(hash, name.substr(0, 1));
    }
    depth -= c == '>' ? 1 : 0;
    name.remove_prefix(1);
  }
  return hash;
}

/// Specialised by generated headers: `list` are the marks of the class, `inherited<M>()` those of
/// its bases.
template <std::uint64_t ClassName>
struct AttributedMarks {
  using list = MarkList<>;
  template <class M>
  static MarkList<> inherited();
};

/// The attributed entries of M, those of its bases first.
template <class M>
using AttributedMarksOf = decltype(AttributedMarks<class_name_hash<M>()>::template inherited<M>() +
                                   typename AttributedMarks<class_name_hash<M>()>::list{});

}  // namespace detail
}  // namespace fabric

/// The mixin of one entry: a callable member NAME and what it needs.
#define FABRIC_ENTRY_MIXIN(HOW, ORIGIN, NAME, ...)                                         \
  template <class FabricBase>                                                              \
  struct FabricMark_##NAME : FabricBase {                                                  \
    using FabricM = typename FabricBase::FabricModuleType;                                 \
    struct FabricElsewhere {                                                               \
      int NAME;                                                                            \
    };                                                                                     \
    template <class M>                                                                     \
    struct FabricTwice : M, FabricElsewhere {};                                            \
    struct FabricCaller {                                                                  \
      static constexpr ::fabric::EntryOptions options{__VA_ARGS__};                        \
      template <class M>                                                                   \
      using Method = decltype(&M::NAME);                                                   \
      template <class M, class... Args>                                                    \
      auto operator()(M& module, Args&&... args) const                                     \
          -> decltype(module.NAME(std::forward<Args>(args)...)) {                          \
        return module.NAME(std::forward<Args>(args)...);                                   \
      }                                                                                    \
    };                                                                                     \
    template <class M>                                                                     \
    static constexpr bool fabric_has_method() {                                            \
      if constexpr (std::is_final_v<M>) {                                                  \
        return true;                                                                       \
      } else {                                                                             \
        return requires { &M::NAME; } || !requires { &FabricTwice<M>::NAME; };             \
      }                                                                                    \
    }                                                                                      \
    static_assert(fabric_has_method<FabricM>(),                                            \
                  HOW "(" #NAME "): the class has no method '" #NAME                       \
                      "'. The mark must name a method of the same class.");                \
    static_assert(!::fabric::detail::is_reserved_entry(#NAME),                             \
                  HOW "(" #NAME "): FabricModule has a member '" #NAME                     \
                      "' itself. Rename the method; 'forward' needs no mark.");            \
    FabricMark_##NAME() = default;                                                         \
    explicit FabricMark_##NAME(std::shared_ptr<::fabric::detail::TypedCore<FabricM>> core) \
        : FabricBase(core),                                                                \
          NAME(::fabric::detail::with_entry(core, #NAME, ::fabric::EntryOrigin::ORIGIN,    \
                                            FabricCaller::options),                        \
               FabricCaller{}, FabricCaller::options) {}                                   \
    ::fabric::InferenceEntry<FabricM, FabricCaller> NAME;                                  \
  };
