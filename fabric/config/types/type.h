// Tables that describe C++ types, so that everything else works on pointers and needs no templates.
//
// type_of.h makes them; read.h and write.h use them.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace fabric::config {
class Choice;
}

namespace fabric::config::detail {

struct ClassTable;
struct Node;
struct Type;

/// A table is found when it is used: a struct may hold a list of itself.
using TypeOf = const Type& (*)();

/// What is done with a value whose type only its table knows.
class Visit {
 public:
  template <class Function>
  Visit(Function&& function)  // NOLINT: converts, and lives as long as the call it is made for
      : function_(const_cast<void*>(static_cast<const void*>(&function))),
        call_([](void* visit, void* value) {
          (*static_cast<std::remove_reference_t<Function>*>(visit))(value);
        }) {}
  void operator()(void* value) const { call_(function_, value); }

 private:
  void* function_;
  void (*call_)(void*, void*);
};

/// `choice` is a class chosen by name, with its options. The last two are no options: `provided`
/// gets its value from the program, `resolved` is a config::Resolved, a place for the parser's
/// answer.
struct Type {
  enum class Kind { scalar, optional, list, map, structure, variant, choice, provided, resolved };
  Kind kind;
};

/// Whether sources may give it.
inline bool is_option(const Type& type) {
  return type.kind != Type::Kind::resolved && type.kind != Type::Kind::provided;
}

/// A value that one text stands for.
struct ScalarType : Type {
  /// What errors and help call it: "int", "relu or gelu".
  const char* name;
  /// Reads a node. Returns what is wrong with it; nothing if all is well.
  std::string (*read)(const ScalarType& type, void* value, const Node& node);
  /// The value as a scalar.
  Node (*write)(const ScalarType& type, const void* value);
  /// Whether `1,2` on the command line is a list of them.
  bool numeric = false;
  /// Whether it is a path, which begins at its source's folder.
  bool path = false;
};

/// std::optional and Required.
struct OptionalType : Type {
  TypeOf value;
  /// Whether there has to be a value (Required).
  bool required;
  void* (*get)(void* optional);      // null while it is empty
  void* (*emplace)(void* optional);  // a new value
  void (*reset)(void* optional);
};

/// std::vector, std::array and other sequences, pairs and tuples of one type.
struct ListType : Type {
  TypeOf element;
  std::size_t fixed;  ///< the length of an array; 0 where it varies
  std::size_t (*size)(const void* list);
  void (*resize)(void* list, std::size_t size);  // new elements are T{}
  void (*visit)(void* list, std::size_t index, Visit visit);
};

/// std::map and std::unordered_map with texts as keys.
struct MapType : Type {
  TypeOf value;
  void (*clear)(void* map);
  void (*visit)(void* map, const std::string& key, Visit visit);  // makes it where it is missing
  std::vector<std::string> (*keys)(const void* map);              // in order
};

/// One field of an aggregate, or an option of a foreign class behind its getter and setter.
struct Field {
  std::string_view name;
  const char* help;
  TypeOf type;
  std::size_t offset;
  /// Visits a copy of the value, and gives it back where asked to; null for a field of an
  /// aggregate.
  void (*access)(void* object, Visit visit, bool store) = nullptr;

  /// The name in texts: without the underscore that C++ needs after a keyword.
  std::string_view option() const {
    return name.ends_with('_') ? name.substr(0, name.size() - 1) : name;
  }
  void visit(void* object, Visit visit, bool store) const {
    if (access != nullptr) {
      access(object, visit, store);
    } else {
      visit(static_cast<char*>(object) + offset);
    }
  }
};

struct StructType : Type {
  std::vector<Field> fields;
  /// A new one, with the defaults of its fields.
  std::shared_ptr<void> (*make)();
  /// What the struct says against its values; null where it says nothing.
  std::string (*invalid)(const void* object);
  /// Variables with this prefix give fields of it, wherever it stands ("FABRIC_"); null for none.
  const char* variables;

  /// The option with this name in texts; null where there is none.
  const Field* find(std::string_view option) const;
  /// The names of all options.
  std::vector<std::string> names() const;
};

struct VariantType : Type {
  std::vector<TypeOf> alternatives;
  std::size_t (*index)(const void* variant);
  void* (*get)(void* variant);                               // the value that it holds
  void* (*emplace)(void* variant, std::size_t alternative);  // T{} of another
};

/// OneOf and Class.
struct ChoiceType : Type {
  const ClassTable& (*classes)();  // those that may be chosen
  Choice& (*get)(void* choice);
};

/// Provided.
struct ProvidedType : Type {
  TypeOf value;
  bool (*has_value)(const void* provided);
  void* (*emplace)(void* provided);  // a new value
};

/// Tables as what their kind says they are.
inline const ScalarType& scalar(const Type& type) {
  return static_cast<const ScalarType&>(type);
}
inline const OptionalType& optional(const Type& type) {
  return static_cast<const OptionalType&>(type);
}
inline const ListType& list(const Type& type) {
  return static_cast<const ListType&>(type);
}
inline const MapType& map(const Type& type) {
  return static_cast<const MapType&>(type);
}
inline const StructType& structure(const Type& type) {
  return static_cast<const StructType&>(type);
}
inline const VariantType& variant(const Type& type) {
  return static_cast<const VariantType&>(type);
}
inline const ChoiceType& choice(const Type& type) {
  return static_cast<const ChoiceType&>(type);
}
inline const ProvidedType& provided(const Type& type) {
  return static_cast<const ProvidedType&>(type);
}

/// The type below optionals and Required.
const Type& bare(const Type& type);

/// What errors and help call a type: "list of int", "int or null", "a section".
std::string name_of(const Type& type);

}  // namespace fabric::config::detail
