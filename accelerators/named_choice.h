// A value chosen by name from a fixed list: a literal is checked at compile time.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <accelerators/error.h>
#include <accelerators/text.h>

namespace fabric {

/// One of `Set::names`, the first by default. `Set` also says `what` texts call the option, and
/// throws the text that the compiler shows for a wrong literal:
///
///     struct Modes {
///       static constexpr std::string_view what = "entry mode";
///       static constexpr std::string_view names[] = {"keep", "train", "eval"};
///       static constexpr void check(bool known) {
///         if (!known) throw "entry mode: expected \"keep\", \"train\" or \"eval\"";
///       }
///     };
///
/// A literal that is not in the list does not compile; a text read at run time throws
/// MisconfigurationError with the list.
template <class Set>
class NamedChoice {
 public:
  constexpr NamedChoice() = default;

  template <std::size_t N>
  consteval NamedChoice(const char (&text)[N]) : index_(find(std::string_view(text, N - 1))) {
    Set::check(index_ >= 0);
  }

  template <class Text>
    requires detail::RuntimeText<Text>
  NamedChoice(const Text& text) : NamedChoice(from_text(text)) {}

  /// @param source where the text comes from ("FABRIC_UNROUTED"), for error texts
  static NamedChoice from_text(std::string_view text, std::string_view source = {}) {
    NamedChoice choice;
    choice.index_ = find(detail::trim(text));
    FABRIC_CHECK(Misconfiguration, choice.index_ >= 0, "[fabric.options] unknown ", Set::what,
                 "; got '", text, "'", detail::from(source), "; expected ", expected());
    return choice;
  }
  /// "keep, train or eval".
  static std::string expected() {
    return detail::list_or({std::begin(Set::names), std::end(Set::names)});
  }

  constexpr std::string_view name() const { return Set::names[index_]; }
  std::string to_text() const { return std::string(name()); }
  constexpr bool is(std::string_view name) const { return this->name() == name; }
  friend constexpr bool operator==(NamedChoice, NamedChoice) = default;

 private:
  static constexpr int find(std::string_view text) {
    int index = 0;
    for (const std::string_view name : Set::names) {
      if (name == text) {
        return index;
      }
      ++index;
    }
    return -1;
  }

  int index_ = 0;
};

}  // namespace fabric
