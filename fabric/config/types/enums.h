// Enumerations by the names of their values, found without a table of the user's.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <fabric/config/types/type.h>

namespace fabric::config::detail {

struct EnumType : ScalarType {
  /// @param spelled what the compiler calls the values from kFirst on
  EnumType(const char* spelled, std::int64_t (*load)(const void*),
           void (*store)(void*, std::int64_t));

  std::int64_t (*load)(const void* value);
  void (*store)(void* value, std::int64_t number);
  std::vector<std::pair<std::string, std::int64_t>> names;  ///< as texts have them
};

/// The numbers of values that are looked at: -16 to 111.
inline constexpr int kFirstEnumValue = -16;
inline constexpr int kEnumValues = 128;

// One name for all values: the compiler makes one function for an enumeration, not one for a value.
template <class Enum, Enum... values>
const char* spelled_values() {
  return __PRETTY_FUNCTION__;
}

template <class Enum, int... numbers>
const char* spelled_values(std::integer_sequence<int, numbers...>) {
  return spelled_values<Enum, static_cast<Enum>(numbers + kFirstEnumValue)...>();
}

template <class Enum>
const Type& enum_type() {
  static const EnumType type(
      spelled_values<Enum>(std::make_integer_sequence<int, kEnumValues>()),
      [](const void* value) { return static_cast<std::int64_t>(*static_cast<const Enum*>(value)); },
      [](void* value, std::int64_t number) {
        *static_cast<Enum*>(value) = static_cast<Enum>(number);
      });
  return type;
}

}  // namespace fabric::config::detail
