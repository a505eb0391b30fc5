// Merging of parts: items of maps, elements that are added to lists.
#include <fabric/config/sources/merge.h>

#include <iterator>
#include <utility>

#include <fabric/config/tree/builder.h>
#include <fabric/config/types/read.h>
#include <fabric/config/types/words.h>

namespace fabric::config::detail {
namespace {

// The list that a value may be; the type itself where it may be none.
const Type& list_in(const Type& type) {
  if (type.kind == Type::Kind::variant) {
    for (const TypeOf alternative : variant(type).alternatives) {
      if (bare(alternative()).kind == Type::Kind::list) {
        return bare(alternative());
      }
    }
  }
  return type;
}

}  // namespace

// Items with dots in their names, of a map or of whatever a variant holds.
void Merger::merge_items(const Type& type, Node& into, const Node* defaults, Node from,
                         const std::string& path) {
  Node* there = into.find(from.key);
  if (there != nullptr && there->is_scalar() && there->style == Node::Style::raw &&
      Files::is_inline(there->text)) {
    try {  // `{a: 1}` of an argument before it
      Node opened = files_.parse(*there);
      opened.key = there->key;
      *there = std::move(opened);
    } catch (const SourceError& error) {
      problems_.add(error.place, path, error.what());
      *there = Node::map();  // once is enough
      there->key = from.key;
      return;
    }
  }
  if (there == nullptr || !there->is_map()) {
    Node begin =
        defaults != nullptr && defaults->is_map() ? without_meaning(*defaults) : Node::map();
    begin.key = from.key;
    begin.place = from.place;
    begin.key_place = from.key_place;
    Node& added = there == nullptr ? into.add(from.key, Node()) : *there;
    added = std::move(begin);
    there = &added;
  }
  for (Node& item : from.items) {
    const std::string name = joined_path(path, item.key);
    const Node* value = there->find(item.key);
    if (type.kind == Type::Kind::map && bare(map(type).value()).kind == Type::Kind::choice) {
      merge_choice(map(type).value(), *there, nullptr, std::move(item), name);
    } else if (joins(item)) {
      merge_items(type, *there, value, std::move(item), name);
    } else {
      put(*there, std::move(item), name);
    }
  }
}

void Merger::append(const Type& given_type, Node& into, const Node* defaults, Node from,
                    const std::string& path) {
  const Type& type = list_in(given_type);
  const Place place = from.key_place.given() ? from.key_place : from.place;
  if (type.kind != Type::Kind::list || list(type).fixed > 0) {
    problems_.add(place, path, "'+' adds to a list; " + path + " is " + name_of(type));
    return;
  }
  Node* there = into.find(from.key);
  Node whole = there != nullptr      ? *there
               : defaults != nullptr ? without_meaning(*defaults)
                                     : Node::list();
  std::string wrong = open_text(type, whole);
  if (wrong.empty()) {
    wrong = open_text(type, from);
  }
  if (wrong.empty() && is_null(whole)) {
    whole = Node::list();
  }
  if (wrong.empty() && !whole.is_list()) {
    wrong = "'+' adds to a list; got " + describe(whole) + " before it";
  }
  if (!wrong.empty()) {
    problems_.add(place, path, std::move(wrong));
    return;
  }
  whole.key = from.key;
  whole.append = false;
  whole.place = from.place;
  whole.key_place = from.key_place;
  from.append = false;
  from.key.clear();
  const std::size_t first = whole.items.size();
  const bool one = bare(list(type).element()).kind == Type::Kind::list &&
                   (!from.is_list() || from.items.empty() || !from.items.front().is_list());
  if (from.is_list() && !one) {
    std::move(from.items.begin(), from.items.end(), std::back_inserter(whole.items));
  } else {
    whole.items.push_back(std::move(from));
  }
  if (is_choice_list(type)) {
    merge_elements(type, whole, first, path);
  }
  if (there != nullptr) {
    *there = std::move(whole);
  } else {
    into.items.push_back(std::move(whole));
  }
}

}  // namespace fabric::config::detail
