// The path of an option as a link names it: checked when the program is compiled, as far as types
// are known then.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <boost/pfr/core.hpp>
#include <boost/pfr/core_name.hpp>

#include <accelerators/text.h>
#include <fabric/config/classes/class.h>
#include <fabric/config/classes/one_of.h>
#include <fabric/config/types/type_of.h>

namespace fabric::config::detail {

template <class T>
consteval bool has_path(std::string_view path);

template <class... Classes>
consteval bool has_path_in_one_of(OneOf<Classes...>*, std::string_view path) {
  constexpr std::string_view kBlock = "init_args.";
  if (path.starts_with(kBlock)) {
    path.remove_prefix(kBlock.size());
  }
  return (has_path<OptionsOf<Classes>>(path) || ...);
}

template <class Struct, std::size_t... I>
consteval bool has_path_in_fields(std::string_view path, std::index_sequence<I...>) {
  [[maybe_unused]] constexpr auto kNames = boost::pfr::names_as_array<Struct>();
  const std::size_t dot = path.find('.');
  [[maybe_unused]] const std::string_view first = path.substr(0, dot);
  [[maybe_unused]] const std::string_view rest =
      dot == std::string_view::npos ? std::string_view() : path.substr(dot + 1);
  [[maybe_unused]] const auto is_first = [first](std::string_view name) {
    return name == first || (name.ends_with('_') && name.substr(0, name.size() - 1) == first);
  };
  return ((is_first(kNames[I]) && has_path<boost::pfr::tuple_element_t<I, Struct>>(rest)) || ...);
}

/// Whether a value of this type may have a part of this name. What is known only when the program
/// runs is taken for granted.
template <class T>
consteval bool has_path(std::string_view path) {
  if constexpr (is_a<T, std::optional> || is_a<T, Required>) {
    return has_path<typename T::value_type>(path);
  } else if constexpr (is_a<T, Provided> || std::is_same_v<T, Resolved>) {
    return false;
  } else if constexpr (is_a<T, Class> || HasExternalOptions<T>) {
    return true;
  } else if constexpr (is_a<T, OneOf>) {
    return path.empty() || has_path_in_one_of(static_cast<T*>(nullptr), path);
  } else if constexpr (is_a<T, std::vector> || is_a<T, std::deque>) {
    using Element = typename T::value_type;
    return path.empty() || (std::is_base_of_v<Choice, Element> && has_path<Element>(path));
  } else if constexpr (Aggregate<T> && !HasTextForm<T> && !is_fixed_list<T>) {
    return path.empty() ||
           has_path_in_fields<T>(path, std::make_index_sequence<boost::pfr::tuple_size_v<T>>());
  } else {
    return path.empty();
  }
}

/// Not a constant expression: its name is what the compiler shows.
inline void the_configuration_has_no_such_option() {}

/// An option of one of these structs. A literal that names none does not compile; other texts are
/// looked up when the link is made.
template <class... Structs>
class PathOf {
 public:
  template <std::size_t N>
  consteval PathOf(const char (&path)[N]) : path_(path, N - 1) {
    if (!(has_path<Structs>(path_) || ...)) {
      the_configuration_has_no_such_option();
    }
  }
  template <fabric::detail::RuntimeText Text>
  PathOf(const Text& path) : path_(path) {}

  std::string_view text() const { return path_; }

 private:
  std::string_view path_;
};

}  // namespace fabric::config::detail
