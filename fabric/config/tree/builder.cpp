#include <fabric/config/tree/builder.h>

#include <algorithm>

#include <fabric/config/tree/source_text.h>

namespace fabric::config::detail {
namespace {

std::size_t weight(const Node& node) {
  std::size_t sum = sizeof(Node) + node.key.size() + node.text.size();
  for (const Node& item : node.items) {
    sum += weight(item);
  }
  return sum;
}

void check_keys(const Node& map) {
  std::vector<const Node*> items;
  items.reserve(map.items.size());
  for (const Node& item : map.items) {
    items.push_back(&item);
  }
  std::stable_sort(items.begin(), items.end(),
                   [](const Node* a, const Node* b) { return a->key < b->key; });
  for (std::size_t i = 1; i < items.size(); ++i) {
    // `layers:` and `layers+:` in one map are two things: a value, and what comes after it.
    if (items[i]->key == items[i - 1]->key && items[i]->append == items[i - 1]->append) {
      throw SourceError(items[i]->key_place, "the key " + shown(items[i]->key) +
                                                 " comes twice; the first is at " +
                                                 items[i - 1]->key_place.text());
    }
  }
}

}  // namespace

void Builder::take_key(const Place& place, const Node& key) {
  if (!key.is_scalar()) {
    throw SourceError(place,
                      "a key is not a text; got " + describe(key) +
                          "; expected the name of an option. Hint: quote it if it is meant.");
  }
  if (key.text == "<<" && key.style == Node::Style::plain) {
    throw SourceError(place,
                      "merge keys ('<<') are not taken. Hint: give the common part in a file of "
                      "its own, and both by --config; or repeat it.");
  }
  if (key.text.size() > kMaxKey) {
    throw SourceError(place, "a key has " + std::to_string(key.text.size()) +
                                 " bytes; expected at most " + std::to_string(kMaxKey));
  }
  Open& map = open_.back();
  map.key = key.text;
  map.key_place = place;
  map.has_key = true;
}

void Builder::add(Node node, std::size_t anchor) {
  if (anchor != 0) {
    anchors_[anchor] = node;
  }
  if (open_.empty()) {
    root_ = std::move(node);
    return;
  }
  Open& top = open_.back();
  if (top.node.is_map()) {
    top.has_key = false;
    node.append = top.key.size() > 1 && top.key.ends_with('+');
    if (node.append) {
      top.key.pop_back();
    }
    node.key_place = top.key_place;
    top.node.add(std::move(top.key), std::move(node));
  } else {
    top.node.items.push_back(std::move(node));
  }
}

void Builder::null(const Place& place, std::size_t anchor) {
  Node node;
  node.place = place;
  if (key_is_next()) {
    take_key(place, node);
  }
  add(std::move(node), anchor);
}

void Builder::scalar(const Place& place, std::string text, Node::Style style, std::size_t anchor) {
  if (!is_text(text)) {  // escapes can make what the source itself has not
    throw SourceError(place,
                      "not a text; expected characters other than U+0000. Hint: an escape "
                      "such as \\0 or \\N gives none.");
  }
  Node node = Node::scalar(std::move(text), style);
  node.place = place;
  if (key_is_next()) {
    take_key(place, node);
    if (anchor != 0) {
      anchors_[anchor] = std::move(node);
    }
    return;
  }
  add(std::move(node), anchor);
}

void Builder::begin(Node::Kind kind, const Place& place, std::size_t anchor) {
  if (key_is_next()) {
    Node key;
    key.kind = kind;
    take_key(place, key);
  }
  if (open_.size() == kMaxDepth) {
    throw SourceError(
        place, "lists and sections are nested more than " + std::to_string(kMaxDepth) + " deep");
  }
  Open open{.anchor = anchor};
  open.node.kind = kind;
  open.node.place = place;
  open_.push_back(std::move(open));
}

void Builder::end() {
  Open done = std::move(open_.back());
  open_.pop_back();
  if (done.node.is_map()) {
    check_keys(done.node);
  }
  add(std::move(done.node), done.anchor);
}

void Builder::alias(const Place& place, std::size_t anchor) {
  const auto found = anchors_.find(anchor);
  if (found == anchors_.end()) {
    throw SourceError(place, "an alias stands for a part of the text that it is in itself");
  }
  alias_weight_ += weight(found->second);
  if (alias_weight_ > kMaxAliasWeight) {
    throw SourceError(place, "aliases stand for more than " +
                                 std::to_string(kMaxAliasWeight >> 20) +
                                 " MiB together. Hint: write out what is meant.");
  }
  Node copy = found->second;
  copy.place = place;
  if (key_is_next()) {
    take_key(place, copy);
    return;
  }
  add(std::move(copy), 0);
}

}  // namespace fabric::config::detail
