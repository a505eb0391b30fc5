// Numbers in files, least significant byte first, whatever the machine.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

namespace fabric::detail {

template <class T>
  requires std::is_unsigned_v<T>
void append_little_endian(std::string& bytes, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    bytes.push_back(static_cast<char>(value >> (8 * i) & 0xff));
  }
}

/// @param bytes has to hold a whole T from `offset` on
template <class T>
  requires std::is_unsigned_v<T>
T little_endian(std::string_view bytes, std::size_t offset = 0) {
  T value = 0;
  for (std::size_t i = sizeof(T); i-- > 0;) {
    value = static_cast<T>(static_cast<std::uint64_t>(value) << 8 |
                           static_cast<unsigned char>(bytes[offset + i]));
  }
  return value;
}

}  // namespace fabric::detail
