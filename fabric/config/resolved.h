// What a parser made of all sources, for those that work with options without knowing their struct.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fabric/config/place.h>

namespace fabric::config {

namespace detail {
struct ResolvedTree;
}

/// One option with its value.
struct Option {
  std::string path{};    ///< "model.width"
  std::string text{};    ///< as YAML has it in one line: "64", "[1, 2]", "null"
  Place place{};         ///< what gave it; not given() for a default
  bool changed = false;  ///< whether the value is another than the default
};

/// A parsed configuration: what `Fabric` compares over ranks, hands to the processes it starts and
/// puts into files. A field of this type in an options struct is no option; the parser sets it, so
/// that the struct tells where it comes from. Copies share the content.
class Resolved {
 public:
  Resolved() = default;
  explicit Resolved(std::shared_ptr<const detail::ResolvedTree> tree, std::string section = {})
      : tree_(std::move(tree)), section_(std::move(section)) {}

  /// Whether a parser made it; all else needs that.
  explicit operator bool() const { return tree_ != nullptr; }
  /// All options, sections in the order of the struct.
  const std::vector<Option>& options() const;
  /// The place that gave an option or the last part of a section.
  /// @throws MisconfigurationError for an option that there is not
  const Place& origin(std::string_view path) const;
  /// Links that gave nothing, and why, each as "data.side → model.side: Mlp has no option 'side'".
  const std::vector<std::string>& skipped_links() const;
  /// A file that starts the same run again.
  const std::string& yaml() const;
  /// The same values as JSON in one line, for other programs: a `${` in a text stands as it is.
  std::string json() const;
  /// Of paths and values: the same for equal configurations.
  std::uint64_t hash() const;
  /// The section whose struct has this field; empty at the root.
  const std::string& section() const { return section_; }
  const std::shared_ptr<const detail::ResolvedTree>& tree() const { return tree_; }

 private:
  std::shared_ptr<const detail::ResolvedTree> tree_{};
  std::string section_{};
};

}  // namespace fabric::config
