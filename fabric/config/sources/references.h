// `${model.width}` and `${env:HOME}` in texts, followed after all sources are merged.
#pragma once

#include <string>
#include <vector>

#include <fabric/config/sources/variables.h>
#include <fabric/config/tree/node.h>
#include <fabric/config/types/problems.h>

namespace fabric::config::detail {

/// Whether a node has a reference, or the `$${` that stands for a plain `${`, in it.
bool has_references(const Node& node);

/// The tree without the values that have references; sections stay.
Node without_references(const Node& tree);

/// Follows references. One that is all of a text has the value it refers to, whatever kind that is;
/// within a longer text it stands for the text of a scalar.
///
/// What refers to itself, to nothing, or to a section or list within a text becomes a problem.
/// @param tree what was given
/// @param values of all options but those with references
Node follow_references(const Node& tree, const Node& values, const Variables& variables,
                       const std::vector<std::string>& names, Problems& problems);

}  // namespace fabric::config::detail
