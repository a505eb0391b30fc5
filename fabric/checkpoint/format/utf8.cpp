#include <fabric/checkpoint/format/utf8.h>

#include <cstdint>

namespace fabric::detail {
namespace {

unsigned char byte_at(std::string_view text, std::size_t i) {
  return static_cast<unsigned char>(text[i]);
}

// The number of bytes of the character that begins at `i`; 0 where none does.
std::size_t length_at(std::string_view text, std::size_t i) {
  const unsigned char lead = byte_at(text, i);
  const std::size_t length = lead < 0x80                   ? 1
                             : lead >= 0xc2 && lead < 0xe0 ? 2
                             : lead >= 0xe0 && lead < 0xf0 ? 3
                             : lead >= 0xf0 && lead < 0xf5 ? 4
                                                           : 0;
  if (length == 0 || length > text.size() - i) {
    return 0;
  }
  for (std::size_t k = 1; k < length; ++k) {
    if ((byte_at(text, i + k) & 0xc0) != 0x80) {
      return 0;
    }
  }
  // Shorter forms exist for what these would say, and nothing lies above U+10FFFF.
  const bool overlong = (lead == 0xe0 && byte_at(text, i + 1) < 0xa0) ||
                        (lead == 0xf0 && byte_at(text, i + 1) < 0x90);
  const bool above = lead == 0xf4 && byte_at(text, i + 1) >= 0x90;
  return overlong || above ? 0 : length;
}

}  // namespace

bool is_python_text(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = length_at(text, i);
    if (length == 0) {
      return false;
    }
    i += length;
  }
  return true;
}

bool is_strict_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = length_at(text, i);
    const bool surrogate = length == 3 && byte_at(text, i) == 0xed && byte_at(text, i + 1) >= 0xa0;
    if (length == 0 || surrogate) {
      return false;
    }
    i += length;
  }
  return true;
}

std::optional<std::string> utf8_to_latin1(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const unsigned char lead = byte_at(text, i);
    const std::size_t length = length_at(text, i);
    if (length == 0 || lead > 0xc3) {
      return std::nullopt;
    }
    bytes.push_back(
        static_cast<char>(length == 1 ? lead : (lead & 0x03) << 6 | (byte_at(text, i + 1) & 0x3f)));
    i += length;
  }
  return bytes;
}

std::string latin1_to_utf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() + bytes.size() / 2);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const unsigned char byte = byte_at(bytes, i);
    if (byte < 0x80) {
      text.push_back(static_cast<char>(byte));
    } else {
      text.push_back(static_cast<char>(0xc0 | byte >> 6));
      text.push_back(static_cast<char>(0x80 | (byte & 0x3f)));
    }
  }
  return text;
}

}  // namespace fabric::detail
