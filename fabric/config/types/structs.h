// The tables of plain aggregates: their fields by Boost.PFR, with names and help.
#pragma once

#include <concepts>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/pfr/core.hpp>
#include <boost/pfr/core_name.hpp>

#include <fabric/config/help.h>
#include <fabric/config/types/containers.h>
#include <fabric/config/types/type.h>

namespace fabric::config::detail {

/// The help of one field: of FABRIC_HELP, or of a specialisation of Help; empty for none.
template <class Struct, FixedText name>
constexpr const char* help_of() {
  if constexpr (requires { Struct::fabric_help(HelpOf<name>()); }) {
    return Struct::fabric_help(HelpOf<name>());
  } else if constexpr (requires { Help<Struct>::fields; }) {
    for (const FieldHelp& help : Help<Struct>::fields) {
      if (help.field == name.text) {
        return help.text;
      }
    }
  }
  return "";
}

template <class Struct, std::size_t... I>
std::vector<Field> fields_of(std::index_sequence<I...>) {
  static constexpr auto kNames = boost::pfr::names_as_array<Struct>();
  static_assert(help_names_fields<Struct>(kNames),
                "a specialisation of fabric::config::Help names a field that the struct has not");
  Struct object{};
  const auto fields = boost::pfr::structure_tie(object);
  const auto offset = [&](const void* field) {
    return static_cast<std::size_t>(static_cast<const char*>(field) -
                                    reinterpret_cast<const char*>(&object));
  };
  return {Field{kNames[I], help_of<Struct, FixedText<kNames[I].size() + 1>(kNames[I])>(),
                type_of<boost::pfr::tuple_element_t<I, Struct>>, offset(&std::get<I>(fields))}...};
}

template <class Struct>
const Type& struct_type() {
  static const StructType type = [] {
    StructType made{{Type::Kind::structure},
                    fields_of<Struct>(std::make_index_sequence<boost::pfr::tuple_size_v<Struct>>()),
                    [] { return std::static_pointer_cast<void>(std::make_shared<Struct>()); },
                    nullptr,
                    nullptr};
    if constexpr (requires(const Struct& object) {
                    { object.invalid() } -> std::convertible_to<std::string>;
                  }) {
      made.invalid = [](const void* object) -> std::string {
        return static_cast<const Struct*>(object)->invalid();
      };
    }
    if constexpr (requires { Struct::kVariables; }) {
      made.variables = Struct::kVariables;
    }
    return made;
  }();
  return type;
}

}  // namespace fabric::config::detail
