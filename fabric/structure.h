// Walks over the tensors inside a value: tensors, optionals, containers, maps, pairs, tuples,
// torch::data::Example, TorchScript values and plain aggregates (by Boost.PFR), nested in any way.
//
// Everything that takes "tensors, containers and aggregates" (to_device, all_gather, inputs of a
// routed call, batches) is written on this one function.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <torch/data/example.h>
#include <boost/pfr/core.hpp>

namespace fabric {
namespace detail {

template <class T, template <class...> class Template>
inline constexpr bool is_instance_of = false;
template <class... Args, template <class...> class Template>
inline constexpr bool is_instance_of<Template<Args...>, Template> = true;

template <class T>
inline constexpr bool is_std_array = false;
template <class T, std::size_t N>
inline constexpr bool is_std_array<std::array<T, N>> = true;

template <class T>
inline constexpr bool is_sequence =
    is_instance_of<T, std::vector> || is_instance_of<T, std::list> ||
    is_instance_of<T, std::deque> || is_std_array<T>;
template <class T>
inline constexpr bool is_map = is_instance_of<T, std::map> || is_instance_of<T, std::unordered_map>;
template <class T>
inline constexpr bool is_tuple = is_instance_of<T, std::pair> || is_instance_of<T, std::tuple>;

/// Whether T is torch::data::Example<Data, Target> with a target.
template <class T>
inline constexpr bool is_example = false;
template <class Data, class Target>
inline constexpr bool is_example<torch::data::Example<Data, Target>> = true;
template <class Data>
inline constexpr bool is_example<torch::data::Example<Data, torch::data::example::NoTarget>> =
    false;
template <class T>
inline constexpr bool is_tensor_example = false;
template <class Data>
inline constexpr bool
    is_tensor_example<torch::data::Example<Data, torch::data::example::NoTarget>> = true;

/// A TorchScript value with every tensor in it replaced: tensors, lists, tuples and dictionaries of
/// them, nested in any way. Lists and dictionaries are copied.
c10::IValue map_ivalue(const c10::IValue& value,
                       const std::function<at::Tensor(const at::Tensor&)>& map);

/// A plain struct whose fields Boost.PFR can visit.
template <class T>
concept PlainAggregate =
    std::is_class_v<T> && std::is_aggregate_v<T> && !std::is_empty_v<T> &&
    !std::is_polymorphic_v<T> && std::is_copy_constructible_v<T> && !is_std_array<T>;

}  // namespace detail

/// Calls `visit(leaf&)` for every leaf of `value` in order: tensors, numbers, strings and anything
/// that is not one of the structures above. Fields of `const` values are passed as const.
template <class T, class Visit>
void visit_leaves(T& value, Visit&& visit) {
  using Plain = std::remove_const_t<T>;
  if constexpr (std::is_base_of_v<at::Tensor, Plain>) {
    visit(value);
  } else if constexpr (detail::is_instance_of<Plain, std::optional>) {
    if (value.has_value()) {
      visit_leaves(*value, visit);
    }
  } else if constexpr (std::is_same_v<Plain, std::vector<bool>>) {
    visit(value);  // its elements are no objects
  } else if constexpr (detail::is_sequence<Plain>) {
    for (auto& element : value) {
      visit_leaves(element, visit);
    }
  } else if constexpr (detail::is_map<Plain>) {
    for (auto& [key, element] : value) {
      visit_leaves(element, visit);
    }
  } else if constexpr (detail::is_tuple<Plain>) {
    std::apply([&](auto&... elements) { (visit_leaves(elements, visit), ...); }, value);
  } else if constexpr (detail::is_example<Plain>) {
    visit_leaves(value.data, visit);
    visit_leaves(value.target, visit);
  } else if constexpr (detail::is_tensor_example<Plain>) {
    visit_leaves(value.data, visit);
  } else if constexpr (detail::PlainAggregate<Plain>) {
    boost::pfr::for_each_field(value, [&](auto& field) { visit_leaves(field, visit); });
  } else {
    visit(value);
  }
}

/// Returns `value` with every tensor in it replaced by `map(tensor)`. What is not a tensor is
/// copied. Undefined tensors are left alone.
template <class T, class Map>
T map_tensors(T value, Map&& map) {
  visit_leaves(value, [&](auto& leaf) {
    if constexpr (std::is_base_of_v<at::Tensor, std::remove_reference_t<decltype(leaf)>>) {
      if (leaf.defined()) {
        leaf = map(leaf);
      }
    } else if constexpr (std::is_same_v<std::remove_reference_t<decltype(leaf)>, c10::IValue>) {
      leaf = detail::map_ivalue(leaf, map);
    }
  });
  return value;
}

}  // namespace fabric
