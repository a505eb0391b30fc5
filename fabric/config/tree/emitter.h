// Nodes to YAML.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include <fabric/config/tree/node.h>

namespace fabric::config::detail {

/// A comment above an item, by its path ("model.width"); none where it is empty.
using CommentOf = std::function<std::string(const std::string& path)>;

/// Writes a map as YAML in blocks, lists of scalars in one line where they fit. Whatever would read
/// as another type is quoted, also for readers of YAML 1.1 (`yes`, `1e5`, `12:30`, dates). What
/// read_yaml makes of it has the same value; opaque nodes become comments.
std::string to_yaml(const Node& map, const CommentOf& comment_of = {});

/// A scalar as it stands in YAML.
std::string yaml_scalar(const Node& scalar);

/// The value in one line: `[1, 2]`, `{a: 1}`, `"a: b"`.
std::string one_line(const Node& node);

/// A text in which every `${` is meant as it stands: with one more dollar, it is not followed.
std::string escape_references(std::string text);

/// Whether YAML reads a plain text as something else than a text.
bool reads_as_other(std::string_view text);

}  // namespace fabric::config::detail
