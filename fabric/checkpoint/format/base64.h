// Bytes as printable text (RFC 4648, with padding), for formats that hold text only.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace fabric::detail {

std::string to_base64(std::string_view bytes);

/// Nothing for a text that `to_base64` does not make.
std::optional<std::string> from_base64(std::string_view text);

}  // namespace fabric::detail
