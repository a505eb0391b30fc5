#include <fabric/checkpoint/format/state_tree.h>

#include <utility>

#include <accelerators/error.h>

namespace fabric::detail {
namespace {

constexpr std::size_t kMostKeys = 256;  // of a path

std::string text_of(const StatePath& path) {
  std::string text;
  for (const auto& key : path) {
    text += text.empty() ? "" : ".";
    text += std::holds_alternative<std::string>(key) ? std::get<std::string>(key)
                                                     : std::to_string(std::get<std::int64_t>(key));
  }
  return text;
}

}  // namespace

StateTree::Node& StateTree::part(Node& node, const StatePath::value_type& key) {
  const auto* text = std::get_if<std::string>(&key);
  const Node::Kind kind = text != nullptr ? Node::Kind::dict : Node::Kind::list;
  if (node.kind == Node::Kind::unknown) {
    node.kind = kind;
  }
  FABRIC_CHECK(Checkpoint, node.kind == kind, "[fabric.load] a path of the state treats a ",
               node.kind == Node::Kind::dict ? "dictionary" : "value or list", " as another");
  if (text != nullptr) {
    const auto [place, fresh] = node.places.try_emplace(*text, node.parts.size());
    if (fresh) {
      node.keys.push_back(*text);
      node.parts.push_back(std::make_unique<Node>());
    }
    return *node.parts[place->second];
  }
  const std::int64_t index = std::get<std::int64_t>(key);
  FABRIC_CHECK(Checkpoint, index >= 0 && index < most_,
               "[fabric.load] a path of the state has the ", "list index ", index,
               "; expected 0 to ", most_ - 1);
  while (static_cast<std::int64_t>(node.parts.size()) <= index) {
    node.parts.push_back(nullptr);
  }
  std::unique_ptr<Node>& place = node.parts[static_cast<std::size_t>(index)];
  if (!place) {
    place = std::make_unique<Node>();
  }
  return *place;
}

void StateTree::set(const StatePath& path, StateValue value) {
  FABRIC_CHECK(Checkpoint, !path.empty() && path.size() <= kMostKeys,
               "[fabric.load] a path of the ", "state has ", path.size(), " keys; expected 1 to ",
               kMostKeys);
  Node* node = &root_;
  for (const auto& key : path) {
    node = &part(*node, key);
  }
  FABRIC_CHECK(Checkpoint, node->kind == Node::Kind::unknown, "[fabric.load] the state has '",
               text_of(path), "' twice");
  node->kind = Node::Kind::value;
  node->value = std::move(value);
}

StateValue StateTree::take() {
  root_.kind = Node::Kind::dict;
  return take(root_);
}

StateValue StateTree::take(Node& node) {
  if (node.kind == Node::Kind::dict) {
    StateDict dict;
    for (std::size_t i = 0; i < node.parts.size(); ++i) {
      dict.append(std::move(node.keys[i]), take(*node.parts[i]));
    }
    return dict;
  }
  if (node.kind == Node::Kind::list) {
    StateList list;
    for (const auto& part : node.parts) {
      list.push_back(part ? take(*part) : StateValue());
    }
    return list;
  }
  return std::move(node.value);
}

}  // namespace fabric::detail
