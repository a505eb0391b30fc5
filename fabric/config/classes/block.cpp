#include <fabric/config/classes/block.h>

#include <utility>

#include <fabric/config/nearest_name.h>
#include <fabric/config/types/words.h>

namespace fabric::config::detail {

Block take_apart(const Node& map) {
  Block block;
  block.options.place = map.place;
  block.options.key_place = map.key_place;
  for (const Node& item : map.items) {
    const std::string_view key = item.key;
    if (key == kClassPath) {
      block.name = &item;
    } else if (key == kInitArgs && item.is_map()) {
      for (const Node& option : item.items) {
        block.options.items.push_back(option);
      }
    } else if (key == kInitArgs) {
      block.init_args = item.is_null() ? nullptr : &item;
    } else {
      Node option = item;
      if (key.starts_with(kInitArgs) && key.substr(kInitArgs.size()).starts_with('.')) {
        option.key.erase(0, kInitArgs.size() + 1);  // a name with dots in a file
      }
      block.options.items.push_back(std::move(option));
    }
  }
  return block;
}

const ClassEntry* chosen(const ClassTable& classes, const Node* block) {
  if (block == nullptr) {
    return nullptr;
  }
  const Node* name = block->is_map() ? block->find(kClassPath) : block;
  return name != nullptr && name->is_scalar() ? classes.find(word_of(*name)) : nullptr;
}

const Node* part_of(const Node* section, std::string_view name) {
  if (section == nullptr || !section->is_map()) {
    return nullptr;
  }
  if (const Node* part = section->find(name)) {
    return part;
  }
  const Node* options = section->find(kInitArgs);
  return options != nullptr && options->is_map() ? options->find(name) : nullptr;
}

std::string no_such_class(const ClassTable& classes, const Node& name) {
  if (!name.is_scalar()) {
    return misread(name, "the name of a class: " + classes.list());
  }
  return "no such class; got " + shown(name.text) + "; expected " + classes.list() +
         did_you_mean(nearest_name(name.text, classes.names()));
}

}  // namespace fabric::config::detail
