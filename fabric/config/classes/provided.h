// An option that only the program knows, once it runs.
#pragma once

#include <concepts>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include <accelerators/error.h>
#include <fabric/config/types/containers.h>
#include <fabric/config/types/type.h>

namespace fabric {

/// A field of a class's options that the program gives, when it has read its data:
///
///     struct NetImpl { struct Options { fabric::Provided<int64_t> classes{}; … }; … };
///     config.model.set("classes", data.size());   // before make
///
/// No source may give it, screens and files do not have it, and `make` refuses a class that still
/// lacks one.
template <class T>
class Provided {
 public:
  using value_type = T;

  constexpr Provided() = default;
  // Not from everything that converts, as Required.
  template <class U>
    requires(std::same_as<std::remove_cvref_t<U>, T> ||
             (std::is_arithmetic_v<std::remove_cvref_t<U>> && std::is_arithmetic_v<T>))
  Provided(U&& value) : value_(std::forward<U>(value)) {}

  bool has_value() const { return value_.has_value(); }
  /// @throws MisconfigurationError before the program gave it
  const T& value() const {
    FABRIC_CHECK(Misconfiguration, value_.has_value(),
                 "[fabric.config] a value that the program provides is not there yet. Hint: "
                 "set(\"name\", value) on the choice, before make.");
    return *value_;
  }
  const T& operator*() const { return value(); }
  const T* operator->() const { return &value(); }
  operator const T&() const { return value(); }
  T& emplace() { return value_.emplace(); }

 private:
  std::optional<T> value_{};
};

namespace config::detail {

template <class Provided>
const Type& provided_type() {
  using Value = typename Provided::value_type;
  static const ProvidedType type{
      {Type::Kind::provided},
      type_of<Value>,
      [](const void* provided) { return static_cast<const Provided*>(provided)->has_value(); },
      [](void* provided) -> void* { return &static_cast<Provided*>(provided)->emplace(); }};
  return type;
}

}  // namespace config::detail
}  // namespace fabric
