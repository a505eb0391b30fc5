// Makes nodes from the events of a reader, and refuses what no configuration needs.
#pragma once

#include <cstddef>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include <fabric/config/error.h>
#include <fabric/config/tree/node.h>

namespace fabric::config::detail {

/// A text that is no configuration; what reading a source throws.
class SourceError : public std::runtime_error {
 public:
  SourceError(Place place, const std::string& text)
      : std::runtime_error(text), place(std::move(place)) {}
  Place place;
};

/// Takes the events in the order of the text. Keys come as scalars.
///
/// Throws SourceError for keys that come twice, keys that are no texts or too long, nesting deeper
/// than kMaxDepth, and aliases that stand for themselves or for more than kMaxAliasWeight.
class Builder {
 public:
  /// Lists and maps inside each other.
  static constexpr std::size_t kMaxDepth = 100;
  /// Bytes of a key. YAML reads at most 1024 before a colon, and an escaped byte takes four.
  static constexpr std::size_t kMaxKey = 250;
  /// What aliases may add, in bytes about.
  static constexpr std::size_t kMaxAliasWeight = std::size_t{4} << 20;

  void null(const Place& place, std::size_t anchor = 0);
  void scalar(const Place& place, std::string text, Node::Style style, std::size_t anchor = 0);
  void begin(Node::Kind kind, const Place& place, std::size_t anchor = 0);
  void end();
  /// A copy of what has this anchor.
  void alias(const Place& place, std::size_t anchor);

  /// What was built; null for an empty text.
  Node take() { return std::move(root_); }

 private:
  struct Open {
    Node node{};
    std::size_t anchor = 0;
    bool has_key = false;  // of a map: the next value belongs to `key`
    std::string key{};
    Place key_place{};
  };

  bool key_is_next() const {
    return !open_.empty() && open_.back().node.is_map() && !open_.back().has_key;
  }
  void take_key(const Place& place, const Node& key);
  void add(Node node, std::size_t anchor);

  Node root_;
  std::vector<Open> open_;
  std::map<std::size_t, Node> anchors_;
  std::size_t alias_weight_ = 0;
};

}  // namespace fabric::config::detail
