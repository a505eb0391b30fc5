// YAML texts to nodes.
#pragma once

#include <memory>
#include <string_view>

#include <fabric/config/tree/node.h>

namespace fabric::config::detail {

/// Reads one YAML document; null for an empty text.
///
/// Throws SourceError for what is no YAML, and for what YAML allows and a configuration has no use
/// for: keys that come twice, merge keys, several documents, tags other than those of texts and
/// numbers, and what Builder refuses.
Node read_yaml(std::string_view text, const std::shared_ptr<const Source>& source);

}  // namespace fabric::config::detail
