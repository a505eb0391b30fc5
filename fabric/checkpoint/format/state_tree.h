// A state that grows by paths: the opposite of flattening.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include <fabric/checkpoint/state_value.h>

namespace fabric::detail {

/// A text is a key of a dictionary, a number the place in a list.
using StatePath = std::vector<std::variant<std::string, std::int64_t>>;

class StateTree {
 public:
  /// @param most places of a list
  explicit StateTree(std::int64_t most) : most_(most) {}

  /// Puts a value at the end of a path; dictionaries and lists on the way are made.
  /// @throws CheckpointError for an empty path, one that is taken, and one that treats a list as a
  ///         dictionary, or a value as either
  void set(const StatePath& path, StateValue value);

  /// All of it, as a dictionary; places of lists that got nothing are None.
  StateValue take();

 private:
  struct Node {
    enum class Kind { unknown, value, dict, list } kind = Kind::unknown;
    StateValue value{};
    std::vector<std::string> keys{};
    std::vector<std::unique_ptr<Node>> parts{};
    std::unordered_map<std::string, std::size_t> places{};
  };

  Node& part(Node& node, const StatePath::value_type& key);
  static StateValue take(Node& node);

  std::int64_t most_;
  Node root_;
};

}  // namespace fabric::detail
