// A function of a link without its type: values go in and come out as trees.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <fabric/config/classes/signature.h>
#include <fabric/config/tree/node.h>
#include <fabric/config/types/problems.h>
#include <fabric/config/types/read.h>
#include <fabric/config/types/type_of.h>
#include <fabric/config/types/write.h>

namespace fabric::config::detail {

struct Compute {
  std::vector<TypeOf> parameters{};
  /// What the function makes of the values of the sources; nothing where it gives none.
  /// Throws what the function throws.
  std::function<std::optional<Node>(const std::vector<const Node*>& values)> call{};
};

/// A value as a function's parameter. Links have checked the type.
template <class T>
T argument_of(const Node& node) {
  T value{};
  Problems problems;
  read(type_of<T>(), &value, node, "", problems);
  if (!problems.empty()) {
    throw ConfigError(problems.take());
  }
  return value;
}

/// An empty optional is no value; texts of all kinds are texts.
template <class Result>
std::optional<Node> result_node(const Result& result) {
  if constexpr (is_a<Result, std::optional>) {
    return result ? result_node(*result) : std::nullopt;
  } else if constexpr (std::is_convertible_v<const Result&, std::string_view>) {
    const std::string text{std::string_view(result)};
    return write(type_of<std::string>(), &text);
  } else {
    return write(type_of<Result>(), &result);
  }
}

template <class Function, class... Args>
Compute make_compute(Function function, std::tuple<Args...>*) {
  return {{type_of<Args>...}, [function](const std::vector<const Node*>& values) {
            return [&]<std::size_t... I>(std::index_sequence<I...>) {
              return result_node(std::invoke(function, argument_of<Args>(*values[I])...));
            }(std::index_sequence_for<Args...>());
          }};
}

template <class Function>
std::shared_ptr<const Compute> compute_of(Function function) {
  static_assert(HasSignature<Function>,
                "the function of a link says what it takes; no generic lambda");
  using Arguments = typename Signature<Function>::Arguments;
  return std::make_shared<const Compute>(
      make_compute(std::move(function), static_cast<Arguments*>(nullptr)));
}

}  // namespace fabric::config::detail
