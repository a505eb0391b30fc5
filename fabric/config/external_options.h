// Options of somebody else's class, behind its getters and setters.
#pragma once

#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <fabric/config/help.h>
#include <fabric/config/types/containers.h>
#include <fabric/config/types/type.h>

namespace fabric::config::detail {

/// Specialised by FABRIC_EXTERNAL_OPTIONS.
template <class Options>
struct ExternalOptions {};

template <class Options>
concept HasExternalOptions = requires { ExternalOptions<Options>::fields(); };

/// A field behind `value get(const Options&)` and `set(Options&, value)`.
template <class Options, class Value, auto get, auto set>
Field external_field(std::string_view name) {
  const char* help = "";
  if constexpr (requires { Help<Options>::fields; }) {
    for (const FieldHelp& entry : Help<Options>::fields) {
      help = entry.field == name ? entry.text : help;
    }
  }
  return {name, help, type_of<Value>, 0, [](void* object, Visit visit, bool store) {
            Value value = get(*static_cast<const Options*>(object));
            visit(&value);
            if (store) {
              set(*static_cast<Options*>(object), std::move(value));
            }
          }};
}

template <class Options>
const Type& external_type() {
  if constexpr (requires { ExternalOptions<Options>::kNames; }) {
    static_assert(
        help_names_fields<Options>(ExternalOptions<Options>::kNames),
        "a specialisation of fabric::config::Help names an option that the class has not");
  }
  static const StructType type{
      {Type::Kind::structure},
      ExternalOptions<Options>::fields(),
      [] { return std::static_pointer_cast<void>(std::make_shared<Options>()); },
      nullptr,
      nullptr};
  return type;
}

}  // namespace fabric::config::detail

/// Makes a section of a class that has its options as `lr()` and `lr(value)`, as LibTorch's have.
/// At the outermost level of a source, before the class is used in a configuration:
///
///     FABRIC_EXTERNAL_OPTIONS(torch::optim::AdamWOptions, lr, betas, eps, weight_decay, amsgrad)
///     struct Config { torch::optim::AdamWOptions optimizer{}; };
///
/// The class has a default constructor. A name that it has no getter for does not compile.
#define FABRIC_EXTERNAL_OPTIONS(Class, ...)                                       \
  template <>                                                                     \
  struct fabric::config::detail::ExternalOptions<Class> {                         \
    using Options = Class;                                                        \
    static constexpr std::string_view kNames[] = {                                \
        FABRIC_DETAIL_FOR_EACH(FABRIC_DETAIL_EXTERNAL_NAME, __VA_ARGS__)};        \
    static std::vector<::fabric::config::detail::Field> fields() {                \
      return {FABRIC_DETAIL_FOR_EACH(FABRIC_DETAIL_EXTERNAL_FIELD, __VA_ARGS__)}; \
    }                                                                             \
  };

#define FABRIC_DETAIL_EXTERNAL_NAME(name) #name,
#define FABRIC_DETAIL_EXTERNAL_FIELD(name)                                           \
  ::fabric::config::detail::external_field<                                          \
      Options, std::remove_cvref_t<decltype(std::declval<const Options&>().name())>, \
      [](const Options& options) -> decltype(auto) { return options.name(); },       \
      [](Options& options, auto value) { options.name(std::move(value)); }>(#name),

// One macro on each of up to 256 arguments: every level expands the next one four times.
#define FABRIC_DETAIL_FOR_EACH(macro, ...) \
  __VA_OPT__(FABRIC_DETAIL_EXPAND(FABRIC_DETAIL_STEP(macro, __VA_ARGS__)))
#define FABRIC_DETAIL_STEP(macro, first, ...) \
  macro(first) __VA_OPT__(FABRIC_DETAIL_AGAIN FABRIC_DETAIL_NOTHING()(macro, __VA_ARGS__))
#define FABRIC_DETAIL_AGAIN() FABRIC_DETAIL_STEP
#define FABRIC_DETAIL_NOTHING
#define FABRIC_DETAIL_EXPAND(...) \
  FABRIC_DETAIL_EXPAND3(FABRIC_DETAIL_EXPAND3(FABRIC_DETAIL_EXPAND3(__VA_ARGS__)))
#define FABRIC_DETAIL_EXPAND3(...) \
  FABRIC_DETAIL_EXPAND2(FABRIC_DETAIL_EXPAND2(FABRIC_DETAIL_EXPAND2(__VA_ARGS__)))
#define FABRIC_DETAIL_EXPAND2(...) \
  FABRIC_DETAIL_EXPAND1(FABRIC_DETAIL_EXPAND1(FABRIC_DETAIL_EXPAND1(__VA_ARGS__)))
#define FABRIC_DETAIL_EXPAND1(...) __VA_ARGS__
