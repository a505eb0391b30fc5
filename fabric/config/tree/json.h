// JSON texts to nodes.
#pragma once

#include <memory>
#include <string_view>

#include <fabric/config/tree/node.h>

namespace fabric::config::detail {

/// Reads a JSON text; null for an empty one. Numbers keep their text.
///
/// Throws SourceError for what is no JSON, for keys that come twice, and for what Builder refuses.
Node read_json(std::string_view text, const std::shared_ptr<const Source>& source);

}  // namespace fabric::config::detail
