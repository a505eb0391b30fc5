// UTF-8: strict, as JSON and YAML have it, and as Python's pickles do, with surrogates.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace fabric::detail {

/// Whether Python can read these bytes as a text: UTF-8, in which surrogates are allowed.
bool is_python_text(std::string_view text);

/// Whether a text is UTF-8 without surrogates.
bool is_strict_utf8(std::string_view text);

/// The bytes whose values are the characters of a text, as Python's text.encode("latin1"); nothing
/// where it has a character above 255.
std::optional<std::string> utf8_to_latin1(std::string_view text);

/// The text whose characters are these bytes.
std::string latin1_to_utf8(std::string_view bytes);

}  // namespace fabric::detail
