// Merging of classes that are chosen by name, with their options.
#include <fabric/config/sources/merge.h>

#include <utility>

#include <fabric/config/classes/block.h>
#include <fabric/config/nearest_name.h>
#include <fabric/config/sources/references.h>
#include <fabric/config/types/read.h>
#include <fabric/config/types/words.h>
#include <fabric/config/types/write.h>

namespace fabric::config::detail {
namespace {

constexpr const char* kElement = "element";

// Where options of a block are kept until their class is known, and after.
Node& options_of(Node& block) {
  Node* options = block.find(kInitArgs);
  if (options == nullptr) {
    options = &block.add(std::string(kInitArgs), Node::map());
    options->place = block.place;
    options->key_place = block.key_place;
  }
  return *options;
}

// Whether a class takes a value that was given for another one.
bool accepts(const ClassEntry& entry, const Node& option, const std::string& path) {
  if (entry.options().find(option.key) == nullptr) {
    return false;
  }
  if (has_references(option)) {
    return true;  // what it stands for is not known yet
  }
  Node one = Node::map();
  one.items.push_back(option);
  Problems problems;
  read(entry.options(), entry.options().make().get(), one, path, problems);
  return problems.empty();
}

// "Net or Big" is what a file cannot be called: it has a dot, or a slash.
bool may_be_file(std::string_view text) {
  return Files::is_inline(text) || text == "-" ||
         text.find_first_of("./") != std::string_view::npos;
}

}  // namespace

void Merger::merge_choice(const Type& declared, Node& into, const Node* defaults, Node from,
                          const std::string& path) {
  const ClassTable& classes = choice(bare(declared)).classes();
  if (is_null(from)) {
    merge_null_section(declared, into, std::move(from), path);
    return;
  }
  if (from.is_scalar() && has_references(from)) {
    put(into, std::move(from), path);
    return;
  }
  std::string file;
  const bool is_name = from.is_scalar() && !may_be_file(from.text);
  if (!is_name && !open_section(from, file, path)) {
    return;
  }
  Block block = is_name ? Block{.name = &from} : take_apart(from);
  if (block.init_args != nullptr) {
    Node options = *block.init_args;
    std::string options_file;
    if (!open_section(options, options_file, path)) {
      return;
    }
    for (Node& option : options.items) {
      block.options.items.push_back(std::move(option));
    }
  }
  const ClassEntry* named = chosen(classes, block.name);
  if (block.name != nullptr && named == nullptr) {
    const bool refers = block.name->is_scalar() && has_references(*block.name);
    problems_.add(block.name->place, path,
                  refers ? "a class is named itself; got " + shown(block.name->text)
                         : no_such_class(classes, *block.name));
    return;
  }
  Node* there = into.find(from.key);
  if (there != nullptr && there->is_scalar()) {
    if (named == nullptr) {
      problems_.add(from.place, path,
                    "a part of what refers to something cannot be given; got " + describe(*there) +
                        " before");
      return;
    }
    *there = Node();
  }
  if (there == nullptr || !there->is_map()) {
    Node made = Node::map();
    made.key = from.key;
    made.place = from.place;
    made.key_place = from.key_place;
    if (there == nullptr) {
      there = &into.add(from.key, Node());
    }
    *there = std::move(made);
  }
  if (named != nullptr) {
    Node name = Node::scalar(named->name);
    name.place = block.name->place;
    name.key_place = block.name->key_place;
    choose_class(classes, *named, *there, defaults, std::move(name), path);
  }
  const ClassEntry* entry = chosen_of(classes, there, defaults);
  if (!file.empty()) {
    open_files_.push_back(file);
  }
  merge_options(classes, entry, *there, defaults, std::move(block.options), path);
  if (!file.empty()) {
    open_files_.pop_back();
  }
}

const ClassEntry* Merger::chosen_of(const ClassTable& classes, const Node* block,
                                    const Node* defaults) {
  const ClassEntry* entry =
      block != nullptr && block->find(kClassPath) != nullptr ? chosen(classes, block) : nullptr;
  return entry != nullptr ? entry : chosen(classes, defaults);
}

// Values that the class before had are kept where the new one takes them.
void Merger::choose_class(const ClassTable& classes, const ClassEntry& entry, Node& block,
                          const Node* defaults, Node name, const std::string& path) {
  const ClassEntry* before = chosen_of(classes, &block, defaults);
  const Node* options = block.find(kInitArgs);
  Node given = options != nullptr ? *options : Node::map();
  if (before != &entry) {
    std::string dropped;
    Node kept = Node::map();
    kept.place = given.place;
    for (Node& option : given.items) {
      // Without a class before, they were meant for this one.
      if (before == nullptr || accepts(entry, option, path)) {
        kept.items.push_back(std::move(option));
      } else {
        dropped += (dropped.empty() ? "" : ", ") + option.key + " (" + option.place.text() + ")";
      }
    }
    if (!dropped.empty()) {
      notes_.push_back(path + " is " + entry.name + " (" + name.place.text() + "), no longer " +
                       before->name + "; dropped: " + dropped);
    }
    given = std::move(kept);
    std::erase_if(block.items, [](const Node& item) { return item.key == kInitArgs; });
  }
  std::erase_if(block.items, [](const Node& item) { return item.key == kClassPath; });
  name.key = kClassPath;
  block.items.insert(block.items.begin(), std::move(name));
  if (before == nullptr) {
    merge_options(classes, &entry, block, defaults, std::move(given), path);
  } else if (before != &entry && !given.items.empty()) {
    options_of(block).items = std::move(given.items);
  }
}

void Merger::merge_options(const ClassTable& classes, const ClassEntry* entry, Node& block,
                           const Node* defaults, Node from, const std::string& path) {
  if (from.items.empty()) {
    return;
  }
  if (entry == nullptr) {  // a later source may choose the class; else reading finds that none did
    for (Node& option : from.items) {
      put(options_of(block), std::move(option), joined_path(path, option.key));
    }
    return;
  }
  Node begin;
  if (chosen(classes, defaults) == entry && defaults->find(kInitArgs) != nullptr) {
    begin = *defaults->find(kInitArgs);
  } else {
    begin = default_node(entry->options());
  }
  Node known = Node::map();
  for (Node& option : from.items) {
    const std::string name = option.key.substr(0, option.key.find('.'));
    if (entry->options().find(name) != nullptr) {
      known.items.push_back(std::move(option));
    } else {
      no_such_class_option(*entry, option, name, path);
    }
  }
  merge_struct(entry->options(), options_of(block), &begin, std::move(known), path);
}

void Merger::no_such_class_option(const ClassEntry& entry, const Node& option,
                                  const std::string& name, const std::string& path) {
  const std::string whole = joined_path(path, option.key);
  if (unknown_ != nullptr) {
    unknown_->push_back(whole);
    return;
  }
  const bool provided = has_field(entry.options(), name);  // though it is no option
  std::string nearest = nearest_name(name, entry.options().names());
  if (!nearest.empty()) {
    nearest = joined_path(path, nearest);
  }
  const Place& place = option.key_place.given() ? option.key_place : option.place;
  problems_.add(place, whole,
                provided
                    ? "the program provides it; it cannot be given"
                    : "the class " + entry.name + " has no such option" + did_you_mean(nearest));
}

bool Merger::has_field(const StructType& type, std::string_view name) {
  for (const Field& field : type.fields) {
    if (field.option() == name) {
      return true;
    }
  }
  return false;
}

bool Merger::is_choice_list(const Type& type) {
  return type.kind == Type::Kind::list && bare(list(type).element()).kind == Type::Kind::choice;
}

// Elements of a list from one on, each as a block.
void Merger::merge_elements(const Type& list_type, Node& whole, std::size_t first,
                            const std::string& path) {
  for (std::size_t i = first; i < whole.items.size(); ++i) {
    merge_element(list_type, whole, i, Node(whole.items[i]), Node(), path);
  }
}

void Merger::merge_element(const Type& list_type, Node& whole, std::size_t index, Node from,
                           Node before, const std::string& path) {
  Node holder = Node::map();
  if (before.is_map()) {
    holder.add(kElement, std::move(before));
  }
  from.key = kElement;
  from.append = false;
  const std::string element = path + "[" + std::to_string(index) + "]";
  merge_choice(list(list_type).element(), holder, nullptr, std::move(from), element);
  if (Node* made = holder.find(kElement)) {
    made->key.clear();
    whole.items[index] = std::move(*made);
  }
}

// `--callbacks.every=3` is an option of the last element.
void Merger::merge_last_element(const Type& type, Node& into, const Node* defaults, Node from,
                                const std::string& path) {
  Node* there = into.find(from.key);
  if (there == nullptr && defaults != nullptr && defaults->is_list()) {
    Node begin = without_meaning(*defaults);
    begin.key = from.key;
    begin.place = from.place;
    begin.key_place = from.key_place;
    there = &into.add(from.key, Node());
    *there = std::move(begin);
  }
  if (there == nullptr || !there->is_list() || there->items.empty()) {
    problems_.add(from.items.front().key_place, joined_path(path, from.items.front().key),
                  path + " has no element yet. Hint: --" + path + "+=NAME adds one.");
    return;
  }
  const std::size_t last = there->items.size() - 1;
  merge_element(type, *there, last, std::move(from), Node(there->items[last]), path);
}

}  // namespace fabric::config::detail
