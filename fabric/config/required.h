// An option that has no default.
#pragma once

#include <concepts>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include <accelerators/error.h>
#include <accelerators/text.h>

namespace fabric {

/// A field that somebody has to give: the program, a file, a variable or an argument. Reads as a
/// `T` once it is there; a parser that finds none says so, together with all that is missing
/// besides.
///
///     struct Config { fabric::Required<std::string> data{}; };
///     open(*config->data);
template <class T>
class Required {
 public:
  using value_type = T;

  constexpr Required() = default;
  // Not from everything that converts: Boost.PFR counts fields with an object that does.
  template <class U>
    requires(std::same_as<std::remove_cvref_t<U>, T> ||
             (std::is_arithmetic_v<std::remove_cvref_t<U>> && std::is_arithmetic_v<T>) ||
             (detail::RuntimeText<std::remove_cvref_t<U>> && std::constructible_from<T, U>))
  Required(U&& value) : value_(std::forward<U>(value)) {}
  template <std::size_t N>
    requires std::constructible_from<T, const char (&)[N]>
  Required(const char (&text)[N]) : value_(text) {}

  bool has_value() const { return value_.has_value(); }
  /// @throws MisconfigurationError where nothing was given, which a parser would have found
  const T& value() const {
    FABRIC_CHECK(Misconfiguration, value_.has_value(),
                 "[fabric.config] a required option has no value. Hint: a struct that no parser ",
                 "filled has to get it from the program.");
    return *value_;
  }
  T& value() { return const_cast<T&>(std::as_const(*this).value()); }
  const T& operator*() const { return value(); }
  T& operator*() { return value(); }
  const T* operator->() const { return &value(); }
  T* operator->() { return &value(); }
  operator const T&() const { return value(); }

  T& emplace() { return value_.emplace(); }
  void reset() { value_.reset(); }

 private:
  std::optional<T> value_{};
};

}  // namespace fabric
