#include <fabric/config/sources/references.h>

#include <algorithm>
#include <optional>
#include <string_view>

#include <accelerators/text.h>
#include <fabric/config/classes/block.h>
#include <fabric/config/nearest_name.h>
#include <fabric/config/tree/source_text.h>

namespace fabric::config::detail {
namespace {

constexpr std::string_view kEnvironment = "env:";
// References through references, and what all of them together may stand for, in bytes about.
constexpr std::size_t kDeepest = 50;
constexpr std::size_t kMostCopied = std::size_t{4} << 20;

std::size_t weight(const Node& node) {
  std::size_t sum = sizeof(Node) + node.key.size() + node.text.size();
  for (const Node& item : node.items) {
    sum += weight(item);
  }
  return sum;
}

const Node* find_path(const Node& tree, std::string_view path) {
  const Node* node = &tree;
  while (node != nullptr && !path.empty()) {
    const std::size_t dot = path.find('.');
    node = part_of(node, path.substr(0, dot));
    path = dot == std::string_view::npos ? std::string_view() : path.substr(dot + 1);
  }
  return node;
}

class Follower {
 public:
  Follower(const Node& tree, const Node& values, const Variables& variables,
           const std::vector<std::string>& names, Problems& problems)
      : tree_(tree), values_(values), variables_(variables), names_(names), problems_(problems) {}

  // Nothing where a problem was found.
  std::optional<Node> follow(const Node& node, const std::string& path) {
    if (node.is_scalar()) {
      return follow_text(node, path);
    }
    Node made = node;
    made.items.clear();
    for (std::size_t i = 0; i < node.items.size(); ++i) {
      const Node& item = node.items[i];
      const std::string here = !node.is_map() ? path + "[" + std::to_string(i) + "]"
                               : item.key == kInitArgs && node.find(kClassPath)
                                   ? path
                                   : joined_path(path, item.key);
      if (!has_references(item)) {
        made.items.push_back(item);
      } else if (std::optional<Node> followed = follow(item, here)) {
        made.items.push_back(std::move(*followed));
      }
    }
    return made;
  }

 private:
  std::nullopt_t wrong(const Node& node, const std::string& path, std::string text) {
    problems_.add(node.place, path, std::move(text));
    return std::nullopt;
  }

  std::optional<Node> follow_text(const Node& node, const std::string& path) {
    const std::string_view text = node.text;
    if (std::find(open_.begin(), open_.end(), path) != open_.end()) {
      std::string way;
      for (auto at = std::find(open_.begin(), open_.end(), path); at != open_.end(); ++at) {
        way += *at + " → ";
      }
      return wrong(node, path, "refers to itself: " + way + path);
    }
    if (open_.size() == kDeepest) {
      return wrong(node, path, "refers through more than " + std::to_string(kDeepest) + " others");
    }
    open_.push_back(path);
    std::optional<Node> made = node;
    made->text.clear();
    for (std::size_t at = 0; made && at < text.size();) {
      const std::size_t begin = text.find("${", at);
      made->text += text.substr(at, begin - at);
      if (begin == std::string_view::npos) {
        break;
      }
      if (begin > at && text[begin - 1] == '$') {
        made->text.back() = '$';
        made->text += '{';
        at = begin + 2;
        continue;
      }
      const std::size_t end = text.find('}', begin);
      if (end == std::string_view::npos) {
        made = wrong(node, path,
                     "a reference has no end; got " + shown(text) +
                         "; expected ${option}. Hint: a plain '${' is written '$${'.");
        break;
      }
      std::optional<Node> value =
          refer(node, path, fabric::detail::trim(text.substr(begin + 2, end - begin - 2)));
      if (value && (copied_ += weight(*value)) > kMostCopied) {
        value = wrong(node, path, "references stand for more than 4 MiB together");
      }
      if (value && begin == 0 && end + 1 == text.size()) {
        value->key = node.key;
        value->place = node.place;
        value->key_place = node.key_place;
        made = std::move(value);
      } else if (value && !value->is_scalar()) {
        made = wrong(node, path,
                     "within a text a reference stands for a text; got " + describe(*value) +
                         " for " + std::string(text.substr(begin, end + 1 - begin)));
      } else if (value) {
        made->text += value->text;
      } else {
        made.reset();
      }
      at = end + 1;
    }
    open_.pop_back();
    return made;
  }

  std::optional<Node> refer(const Node& node, const std::string& path, std::string_view name) {
    if (name.starts_with(kEnvironment)) {
      const std::string variable(fabric::detail::trim(name.substr(kEnvironment.size())));
      const std::string* value = find_variable(variables_, variable);
      if (value == nullptr) {
        return wrong(node, path,
                     "refers to the variable " + shown(variable) + ", which is not set");
      }
      if (!is_text(*value)) {
        return wrong(node, path, "the variable " + shown(variable) + " is not UTF-8");
      }
      return Node::scalar(*value, Node::Style::raw);
    }
    const Node* given = find_path(tree_, name);
    if (given != nullptr && given != &tree_ && has_references(*given)) {
      std::optional<Node> followed = follow(*given, std::string(name));
      const Node* whole = find_path(values_, name);
      if (followed && followed->is_map() && whole != nullptr && whole->is_map()) {
        Node overlaid = *whole;
        overlay(overlaid, *followed);
        return overlaid;
      }
      return followed;
    }
    const Node* value = name.empty() ? nullptr : find_path(values_, name);
    if (value == nullptr) {
      const std::string option(name);
      const bool known = std::find(names_.begin(), names_.end(), option) != names_.end();
      return wrong(node, path,
                   "refers to " + shown(name) +
                       (known ? ", which has no value" : ", which is no option") +
                       (known ? "" : did_you_mean(nearest_name(name, names_))));
    }
    return *value;
  }

  static void overlay(Node& whole, const Node& part) {
    for (const Node& item : part.items) {
      Node* there = whole.find(item.key);
      if (there == nullptr) {
        whole.items.push_back(item);
      } else if (there->is_map() && item.is_map()) {
        overlay(*there, item);
      } else {
        *there = item;
      }
    }
  }

  const Node& tree_;
  const Node& values_;
  const Variables& variables_;
  const std::vector<std::string>& names_;
  Problems& problems_;
  std::vector<std::string> open_;
  std::size_t copied_ = 0;
};

}  // namespace

bool has_references(const Node& node) {
  return node.text.find("${") != std::string::npos ||
         std::any_of(node.items.begin(), node.items.end(), has_references);
}

Node without_references(const Node& tree) {
  Node made = tree;
  made.items.clear();
  for (const Node& item : tree.items) {
    if (!has_references(item)) {
      made.items.push_back(item);
    } else if (item.is_map()) {
      made.items.push_back(without_references(item));
    }
  }
  return made;
}

Node follow_references(const Node& tree, const Node& values, const Variables& variables,
                       const std::vector<std::string>& names, Problems& problems) {
  return *Follower(tree, values, variables, names, problems).follow(tree, "");
}

}  // namespace fabric::config::detail
