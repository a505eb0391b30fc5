#include <fabric/config/types/write.h>

#include <string>
#include <utility>

#include <fabric/config/classes/block.h>
#include <fabric/config/classes/choice.h>

namespace fabric::config::detail {

bool is_missing(const Type& type, void* value) {
  return (type.kind == Type::Kind::optional && optional(type).required &&
          optional(type).get(value) == nullptr) ||
         (type.kind == Type::Kind::choice && !choice(type).get(value).has_value());
}

Node write(const Type& type, const void* constant) {
  // The tables have one way to the parts of a value, for reading and writing.
  void* value = const_cast<void*>(constant);
  switch (type.kind) {
    case Type::Kind::scalar:
      return scalar(type).write(scalar(type), value);
    case Type::Kind::optional: {
      const void* held = optional(type).get(value);
      return held != nullptr ? write(optional(type).value(), held) : Node();
    }
    case Type::Kind::list: {
      Node node = Node::list();
      for (std::size_t i = 0; i < list(type).size(value); ++i) {
        list(type).visit(value, i, [&](void* element) {
          node.items.push_back(write(list(type).element(), element));
        });
      }
      return node;
    }
    case Type::Kind::map: {
      Node node = Node::map();
      for (std::string& key : map(type).keys(value)) {
        map(type).visit(value, key, [&](void* element) {
          node.add(std::move(key), write(map(type).value(), element));
        });
      }
      return node;
    }
    case Type::Kind::structure: {
      Node node = Node::map();
      for (const Field& field : structure(type).fields) {
        const Type& part = field.type();
        field.visit(
            value,
            [&](void* here) {
              if (is_option(part) && !is_missing(part, here)) {
                node.add(std::string(field.option()), write(part, here));
              }
            },
            /*store=*/false);
      }
      return node;
    }
    case Type::Kind::variant:
      return write(variant(type).alternatives[variant(type).index(value)](),
                   variant(type).get(value));
    case Type::Kind::choice: {
      Node node;
      if (const Choice& here = choice(type).get(value); here.has_value()) {
        node = Node::map();
        node.add(std::string(kClassPath), Node::scalar(here.name()));
        Node options = write(here.entry().options(), here.options());
        if (!options.items.empty()) {
          node.add(std::string(kInitArgs), std::move(options));
        }
      }
      return node;
    }
    case Type::Kind::provided:
    case Type::Kind::resolved:
      break;
  }
  return {};
}

Node default_node(const StructType& type) {
  return write(type, type.make().get());
}

}  // namespace fabric::config::detail
