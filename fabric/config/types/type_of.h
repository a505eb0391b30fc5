// From a C++ type to its table.
#pragma once

#include <array>
#include <chrono>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include <fabric/config/classes/choice.h>
#include <fabric/config/classes/options_of.h>
#include <fabric/config/classes/provided.h>
#include <fabric/config/external_options.h>
#include <fabric/config/required.h>
#include <fabric/config/resolved.h>
#include <fabric/config/types/containers.h>
#include <fabric/config/types/durations.h>
#include <fabric/config/types/enums.h>
#include <fabric/config/types/scalars.h>
#include <fabric/config/types/structs.h>
#include <fabric/config/types/texts.h>

namespace fabric::config::detail {

template <class T, template <class...> class Template>
inline constexpr bool is_a = false;
template <class... Args, template <class...> class Template>
inline constexpr bool is_a<Template<Args...>, Template> = true;

template <class T>
inline constexpr bool is_duration = false;
template <class Rep, class Period>
inline constexpr bool is_duration<std::chrono::duration<Rep, Period>> = true;

/// std::array, and pairs and tuples of one type.
template <class T>
inline constexpr bool is_fixed_list = false;
template <class T, std::size_t N>
inline constexpr bool is_fixed_list<std::array<T, N>> = N > 0;
template <class First, class... Rest>
inline constexpr bool is_fixed_list<std::tuple<First, Rest...>> =
    (std::is_same_v<First, Rest> && ...);
template <class First, class Second>
inline constexpr bool is_fixed_list<std::pair<First, Second>> = std::is_same_v<First, Second>;

template <class T>
inline constexpr bool is_text_map = false;
template <class Value, class... Rest>
inline constexpr bool is_text_map<std::map<std::string, Value, Rest...>> = true;
template <class Value, class... Rest>
inline constexpr bool is_text_map<std::unordered_map<std::string, Value, Rest...>> = true;

template <class T>
concept Aggregate = std::is_class_v<T> && std::is_aggregate_v<T> && !std::is_empty_v<T>;

/// The one answer for all types. More special kinds come first.
template <class T>
const Type& type_of() {
  if constexpr (std::is_same_v<T, Resolved>) {
    static const Type type{Type::Kind::resolved};
    return type;
  } else if constexpr (std::is_base_of_v<Choice, T>) {
    return choice_type<T>();
  } else if constexpr (is_a<T, Provided>) {
    return provided_type<T>();
  } else if constexpr (HasTextForm<T>) {
    return text_type<T>();
  } else if constexpr (requires { builtin(Of<T>()); }) {
    return builtin(Of<T>());
  } else if constexpr (std::is_enum_v<T>) {
    return enum_type<T>();
  } else if constexpr (is_duration<T>) {
    return duration_type<T>();
  } else if constexpr (is_a<T, std::optional>) {
    return optional_type<T>(/*required=*/false);
  } else if constexpr (is_a<T, Required>) {
    return optional_type<T>(/*required=*/true);
  } else if constexpr (is_a<T, std::vector> || is_a<T, std::deque>) {
    return list_type<T>();
  } else if constexpr (is_fixed_list<T>) {
    return fixed_list_type<T>();
  } else if constexpr (is_text_map<T>) {
    return map_type<T>();
  } else if constexpr (is_a<T, std::variant>) {
    return variant_type<T>();
  } else if constexpr (HasExternalOptions<T>) {
    return external_type<T>();
  } else if constexpr (Aggregate<T>) {
    return struct_type<T>();
  } else {
    static_assert(
        Aggregate<T>,
        "this type cannot be an option: it is no plain struct (no constructor, no base "
        "class, nothing private). Hint: specialise fabric::config::TextForm for a type that "
        "is one text; FABRIC_EXTERNAL_OPTIONS for a class with getters and setters.");
    return struct_type<T>();
  }
}

template <class Options>
const StructType& class_options() {
  if constexpr (std::is_class_v<Options> && std::is_empty_v<Options>) {
    static const StructType type{
        {Type::Kind::structure},
        {},
        [] { return std::static_pointer_cast<void>(std::make_shared<Options>()); },
        nullptr,
        nullptr};
    return type;
  } else {
    static_assert(HasExternalOptions<Options> || Aggregate<Options>,
                  "the options of a class are a plain struct: no constructor, no base class, "
                  "nothing private");
    return structure(type_of<Options>());
  }
}

}  // namespace fabric::config::detail
