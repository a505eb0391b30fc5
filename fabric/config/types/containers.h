// The tables of types that have others in them.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include <fabric/config/types/type.h>

namespace fabric::config::detail {

/// Defined in type_of.h.
template <class T>
const Type& type_of();

template <class Optional>
const Type& optional_type(bool required) {
  using Value = typename Optional::value_type;
  static const OptionalType type{
      {Type::Kind::optional},
      type_of<Value>,
      required,
      [](void* value) -> void* {
        auto& optional = *static_cast<Optional*>(value);
        return optional.has_value() ? &optional.value() : nullptr;
      },
      [](void* value) -> void* { return &static_cast<Optional*>(value)->emplace(); },
      [](void* value) { static_cast<Optional*>(value)->reset(); }};
  return type;
}

/// std::vector and std::deque.
template <class List>
const Type& list_type() {
  using Value = typename List::value_type;
  static const ListType type{
      {Type::Kind::list},
      type_of<Value>,
      0,
      [](const void* list) { return static_cast<const List*>(list)->size(); },
      [](void* list, std::size_t size) { static_cast<List*>(list)->resize(size); },
      [](void* value, std::size_t index, Visit visit) {
        List& list = *static_cast<List*>(value);
        if constexpr (std::is_same_v<typename List::reference, Value&>) {
          visit(&list[index]);
        } else {  // std::vector<bool>: its elements are no objects
          Value element = list[index];
          visit(&element);
          list[index] = element;
        }
      }};
  return type;
}

/// std::array, and pairs and tuples of one type.
template <class Tuple>
const Type& fixed_list_type() {
  using Value = std::tuple_element_t<0, Tuple>;
  constexpr std::size_t kSize = std::tuple_size_v<Tuple>;
  static const ListType type{{Type::Kind::list},
                             type_of<Value>,
                             kSize,
                             [](const void*) { return kSize; },
                             [](void*, std::size_t) {},
                             [](void* value, std::size_t index, Visit visit) {
                               [&]<std::size_t... I>(std::index_sequence<I...>) {
                                 Value* elements[] = {&std::get<I>(*static_cast<Tuple*>(value))...};
                                 visit(elements[index]);
                               }(std::make_index_sequence<kSize>());
                             }};
  return type;
}

template <class Map>
const Type& map_type() {
  using Value = typename Map::mapped_type;
  static const MapType type{{Type::Kind::map},
                            type_of<Value>,
                            [](void* map) { static_cast<Map*>(map)->clear(); },
                            [](void* map, const std::string& key, Visit visit) {
                              visit(&(*static_cast<Map*>(map))[key]);
                            },
                            [](const void* map) {
                              std::vector<std::string> keys;
                              for (const auto& [key, value] : *static_cast<const Map*>(map)) {
                                keys.push_back(key);
                              }
                              std::sort(keys.begin(), keys.end());
                              return keys;
                            }};
  return type;
}

template <class Variant>
const Type& variant_type() {
  constexpr std::size_t kSize = std::variant_size_v<Variant>;
  static const VariantType type{
      {Type::Kind::variant},
      []<std::size_t... I>(std::index_sequence<I...>) {
        return std::vector<TypeOf>{type_of<std::variant_alternative_t<I, Variant>>...};
      }(std::make_index_sequence<kSize>()),
      [](const void* variant) { return static_cast<const Variant*>(variant)->index(); },
      [](void* variant) -> void* {
        return std::visit([](auto& value) -> void* { return &value; },
                          *static_cast<Variant*>(variant));
      },
      [](void* value, std::size_t alternative) -> void* {
        return [&]<std::size_t... I>(std::index_sequence<I...>) {
          using Make = void* (*)(Variant&);
          constexpr Make makes[] = {
              [](Variant& variant) -> void* { return &variant.template emplace<I>(); }...};
          return makes[alternative](*static_cast<Variant*>(value));
        }(std::make_index_sequence<kSize>());
      }};  // namespace fabric::config::detail
  return type;
}

}  // namespace fabric::config::detail
