#include <fabric/config/tree/node.h>

#include <algorithm>
#include <utility>

namespace fabric::config::detail {

const Node* Node::find(std::string_view name) const {
  const auto found = std::find_if(items.begin(), items.end(),
                                  [name](const Node& item) { return item.key == name; });
  return found == items.end() ? nullptr : &*found;
}

Node* Node::find(std::string_view name) {
  return const_cast<Node*>(std::as_const(*this).find(name));
}

Node& Node::add(std::string name, Node value) {
  value.key = std::move(name);
  items.push_back(std::move(value));
  return items.back();
}

bool Node::any_given() const {
  return place.given() ||
         std::any_of(items.begin(), items.end(), [](const Node& item) { return item.any_given(); });
}

bool Node::same_value(const Node& other) const {
  return kind == other.kind && text == other.text &&
         std::equal(items.begin(), items.end(), other.items.begin(), other.items.end(),
                    [](const Node& a, const Node& b) { return a.key == b.key && a.same_value(b); });
}

std::string describe(const Node& node) {
  switch (node.kind) {
    case Node::Kind::null:
      return "null";
    case Node::Kind::scalar:
      return shown(node.text);
    case Node::Kind::list:
      return "a list of " + std::to_string(node.items.size());
    case Node::Kind::map:
      break;
  }
  return "a section with " +
         (node.items.empty() ? "no keys" : "the key '" + node.items.front().key + "'");
}

std::string shown(std::string_view text) {
  constexpr std::size_t kShown = 60;
  std::string line = "'";
  for (const char c : text.substr(0, kShown)) {
    const auto byte = static_cast<unsigned char>(c);
    line += c == '\n' ? std::string("\\n") : std::string(1, byte < 0x20 || byte == 0x7f ? '?' : c);
  }
  // Not in the middle of a character of several bytes.
  if (text.size() > kShown) {
    while (line.size() > 1 && (static_cast<unsigned char>(line.back()) & 0xc0) == 0x80) {
      line.pop_back();
    }
    if (static_cast<unsigned char>(line.back()) >= 0xc0) {
      line.pop_back();
    }
    line += "…";
  }
  return line + "'";
}

}  // namespace fabric::config::detail
