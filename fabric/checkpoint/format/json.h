// JSON texts, read into StateValues and written piece by piece.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <fabric/checkpoint/state_value.h>

namespace fabric::detail {

/// Containers inside containers, at most. Deeper ones are no state but an attack on the stack.
inline constexpr std::size_t kJsonDepth = 2000;

/// Reads a JSON text as it is: objects become dictionaries in the order of the text, numbers with a
/// point or an exponent real ones. Stricter than most readers: keys come once, strings are UTF-8.
/// @param what the error calls it ("the header of model.safetensors")
/// @throws CheckpointError for a text that is no JSON, integers that need more than 64 bits, and
///         containers nested more than kJsonDepth deep
StateValue parse_json(std::string_view text, std::string_view what);

/// Appends a string in quotes.
/// @throws CheckpointError where it is not UTF-8
void append_json_string(std::string& to, std::string_view text);

/// Appends a finite number such that reading it gives the same bits, and a real number again.
void append_json_real(std::string& to, double value);

}  // namespace fabric::detail
