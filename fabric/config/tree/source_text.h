// What all readers of texts check before.
#pragma once

#include <memory>
#include <string_view>

#include <fabric/config/place.h>

namespace fabric::config::detail {

/// Texts that are longer are no configurations.
inline constexpr std::size_t kMaxSourceBytes = std::size_t{16} << 20;

/// Whether it is UTF-8 without zero bytes.
bool is_text(std::string_view text);

/// Throws SourceError for a text that is too long, is no UTF-8, or has a zero byte.
void check_source_text(std::string_view text, const std::shared_ptr<const Source>& source);

/// Whether nothing is in it but spaces and line ends.
bool is_blank(std::string_view text);

}  // namespace fabric::config::detail
