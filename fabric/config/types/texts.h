// The tables of types that are one text (text_form.h).
#pragma once

#include <string>
#include <string_view>

#include <fabric/config/text_form.h>
#include <fabric/config/types/type.h>

namespace fabric::config::detail {

struct TextType : ScalarType {
  /// @param spelled what the compiler calls the type, for one that does not say how it is called
  TextType(const std::string& called, std::string_view spelled,
           void (*parse)(void* value, std::string_view text),
           std::string (*format)(const void* value));

  void (*parse)(void* value, std::string_view text);  ///< throws what is wrong
  std::string (*format)(const void* value);
};

template <class T>
std::string_view spelled_type() {
  return __PRETTY_FUNCTION__;
}

template <class T>
const Type& text_type() {
  std::string name;
  if constexpr (requires { TextForm<T>::name; }) {
    name = TextForm<T>::name;
  } else if constexpr (requires { T::expected(); }) {
    name = T::expected();
  }
  static const TextType type(
      name, spelled_type<T>(),
      [](void* value, std::string_view text) {
        *static_cast<T*>(value) = TextForm<T>::from_text(text);
      },
      [](const void* value) -> std::string {
        return TextForm<T>::to_text(*static_cast<const T*>(value));
      });
  return type;
}

}  // namespace fabric::config::detail
