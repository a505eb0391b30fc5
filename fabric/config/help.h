// What the help screen says of an option.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string_view>

namespace fabric::config {

namespace detail {

/// A text as an argument of a template.
template <std::size_t N>
struct FixedText {
  char text[N] = {};
  consteval FixedText(const char (&literal)[N]) { std::copy_n(literal, N, text); }
  consteval FixedText(std::string_view view) { std::copy_n(view.data(), N - 1, text); }
};

/// Tells the functions that FABRIC_HELP declares apart.
template <FixedText name>
struct HelpOf {};

}  // namespace detail

/// A field and what it is; see Help.
struct FieldHelp {
  std::string_view field;
  const char* text;
};

/// The help of a struct that cannot have FABRIC_HELP in it, because it is somebody else's:
///
///     template <>
///     struct fabric::config::Help<Foreign> {
///       static constexpr FieldHelp fields[] = {{"width", "units of a layer"}};
///     };
///
/// A name that is no field does not compile.
template <class Struct>
struct Help {};

namespace detail {

/// Whether a specialisation of Help, where there is one, names fields only.
template <class Struct, class Names>
consteval bool help_names_fields(const Names& names) {
  if constexpr (requires { Help<Struct>::fields; }) {
    for (const FieldHelp& help : Help<Struct>::fields) {
      if (std::find(std::begin(names), std::end(names), help.field) == std::end(names)) {
        return false;
      }
    }
  }
  return true;
}

}  // namespace detail
}  // namespace fabric::config

/// Says what the field on the line before is, for `--help` and for comments in printed files:
///
///     struct Model {
///       int width = 64;
///       FABRIC_HELP(width, "units of a layer")
///     };
///
/// A name that is no field does not compile; the error is at this line.
#define FABRIC_HELP(field, help_text)                                                        \
  static constexpr const char* fabric_help(                                                  \
      ::fabric::config::detail::HelpOf<::fabric::config::detail::FixedText(#field)>) {       \
    static_assert(sizeof(field) > 0, "FABRIC_HELP stands in a struct, and names its field"); \
    return help_text;                                                                        \
  }
