// What a class has that may be told links: Parser, and the commands of a Cli.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include <fabric/config/links/compute.h>
#include <fabric/config/links/links.h>

namespace fabric::config::detail {

/// Gives `Self` its `link`; `Self::add_link` takes what it makes.
template <class Self, class Path>
class Linking {
 public:
  /// Gives one option the value of another, after all sources are merged:
  ///
  ///     parser.link("data.batch_size", "model.batch_size");
  ///     parser.link("model", "fabric.strategy", [](const fabric::OneOf<Net, Big>& model) {
  ///       return model.is("Big") ? "fsdp" : "ddp"; });
  ///     parser.link({"data.rows", "data.columns"}, "model.inputs",
  ///                 [](int rows, int columns) { return rows * columns; });
  ///
  /// Nobody may give the target any more, and saved files do not have it. A link is skipped where
  /// the selected class has no such source or target, a section is left out, or the function
  /// returns an empty optional; the table at the start and --print_links say so. Links may build on
  /// each other, in any order. In a list of classes, all that have the target get it.
  /// @throws MisconfigurationError for a name that no class has, types that do not fit, a target of
  ///         two links, a cycle; names in the text of the program do not compile
  Self& link(Path source, Path target) {
    return add({{std::string(source.text())}, std::string(target.text()), nullptr});
  }
  template <class Function>
  Self& link(Path source, Path target, Function compute) {
    return add(
        {{std::string(source.text())}, std::string(target.text()), compute_of(std::move(compute))});
  }
  template <std::size_t N, class Function>
  Self& link(const Path (&sources)[N], Path target, Function compute) {
    Link link{{}, std::string(target.text()), compute_of(std::move(compute))};
    for (const Path& source : sources) {
      link.sources.emplace_back(source.text());
    }
    return add(std::move(link));
  }

 private:
  Self& add(Link link) {
    Self& self = static_cast<Self&>(*this);
    self.add_link(std::move(link));
    return self;
  }
};

}  // namespace fabric::config::detail
