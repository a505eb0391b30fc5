// Types that are one text.
#pragma once

#include <concepts>
#include <string>
#include <string_view>

namespace fabric::config {

/// How a type that one text stands for is read and written. Types with a static `from_text` and a
/// `to_text` of their own need nothing (a static `expected` says what errors and help expect, "a, b
/// or c"); for somebody else's type, specialise it:
///
///     template <>
///     struct fabric::config::TextForm<Uri> {
///       static constexpr const char* name = "URI";                      // in help and errors
///       static Uri from_text(std::string_view text) { return Uri(text); }  // throws what is wrong
///       static std::string to_text(const Uri& uri) { return uri.str(); }
///     };
template <class T>
struct TextForm;

namespace detail {

template <class T>
concept HasTextForm = requires(std::string_view text, const T& value) {
  { TextForm<T>::from_text(text) } -> std::convertible_to<T>;
  { TextForm<T>::to_text(value) } -> std::convertible_to<std::string>;
};

template <class T>
concept HasOwnText = requires(std::string_view text, const T& value) {
  { T::from_text(text) } -> std::convertible_to<T>;
  { value.to_text() } -> std::convertible_to<std::string>;
};

}  // namespace detail

template <class T>
  requires detail::HasOwnText<T>
struct TextForm<T> {
  static T from_text(std::string_view text) { return T::from_text(text); }
  static std::string to_text(const T& value) { return value.to_text(); }
};

}  // namespace fabric::config
