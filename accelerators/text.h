// Small functions on texts that value types of the options share; most run at compile time, so that
// a literal and a text read at run time go through the same parser.
#pragma once

#include <concepts>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace fabric::detail {

/// A text whose content is known at run time only. Literals are arrays, so they do not match.
/// Constructors of value types are templates on this concept: Boost.PFR counts the fields of an
/// aggregate with an object that converts to anything, and an unconstrained constructor taking a
/// std::string would answer to it.
template <class T>
concept RuntimeText = std::same_as<T, std::string> || std::same_as<T, std::string_view> ||
                      std::same_as<T, const char*> || std::same_as<T, char*>;

constexpr std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

/// Reads a whole decimal integer with an optional sign; nothing if anything else is in the text, or
/// if it does not fit an int.
constexpr std::optional<int> parse_int(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) {
    text.remove_prefix(1);
  }
  if (text.empty() || text.size() > 9) {
    return std::nullopt;
  }
  int value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') {
      return std::nullopt;
    }
    value = value * 10 + (c - '0');
  }
  return negative ? -value : value;
}

/// The text in lower case (ASCII).
std::string to_lower(std::string_view text);

/// A view of the same characters that stays valid until the process ends. Names are few; equal ones
/// share storage.
std::string_view intern(std::string_view text);

/// "a", "a or b", "a, b or c".
std::string list_or(const std::vector<std::string>& items);

/// " from FABRIC_DEVICES", or nothing without a source; for error texts.
std::string from(std::string_view source);

}  // namespace fabric::detail
