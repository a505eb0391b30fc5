// What sources give, before anything is known of types: texts, lists and maps, each with its place.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <fabric/config/place.h>

namespace fabric::config::detail {

/// One value of a source, or a part of it.
struct Node {
  enum class Kind { null, scalar, list, map };
  /// How the text of a scalar came: that decides which types it may become.
  enum class Style {
    plain,   ///< of a file, without quotes: whatever the type makes of it
    quoted,  ///< of a file, in quotes: text
    raw,     ///< of the command line or the environment: as plain, and lists without brackets
    opaque,  ///< a value of the program that no text stands for; the text only describes it
  };

  Kind kind = Kind::null;
  Style style = Style::plain;
  bool append = false;  ///< whether the key ended with '+': what is given comes after what is there
  std::string key{};    ///< in a map
  std::string text{};   ///< of a scalar
  std::vector<Node> items{};  ///< of a list or a map, in order
  Place place{};
  Place key_place{};  ///< in a map

  static Node scalar(std::string text, Style style = Style::plain) {
    Node node;
    node.kind = Kind::scalar;
    node.style = style;
    node.text = std::move(text);
    return node;
  }
  static Node list() { return of(Kind::list); }
  static Node map() { return of(Kind::map); }

  bool is_null() const { return kind == Kind::null; }
  bool is_scalar() const { return kind == Kind::scalar; }
  bool is_list() const { return kind == Kind::list; }
  bool is_map() const { return kind == Kind::map; }

  /// The item under a key of a map; null where there is none.
  const Node* find(std::string_view name) const;
  Node* find(std::string_view name);
  /// Adds an item to a map.
  Node& add(std::string name, Node value);

  /// Whether a user gave any part of it.
  bool any_given() const;
  /// The same value, whatever places and styles are.
  bool same_value(const Node& other) const;

 private:
  static Node of(Kind kind) {
    Node node;
    node.kind = kind;
    return node;
  }
};

/// "the text 'x'", "a list of 3", "a section", "null"; for errors.
std::string describe(const Node& node);

/// A text as errors show it: in quotes, on one line, cut where it is long.
std::string shown(std::string_view text);

}  // namespace fabric::config::detail
