// Numbers of the zip format (PKWARE's APPNOTE 6.3), as far as stored archives need them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fabric::detail::zip {

inline constexpr std::uint32_t kLocalHeader = 0x04034b50;
inline constexpr std::uint32_t kDescriptor = 0x08074b50;
inline constexpr std::uint32_t kCentralHeader = 0x02014b50;
inline constexpr std::uint32_t kEnd = 0x06054b50;
inline constexpr std::uint32_t kEnd64 = 0x06064b50;
inline constexpr std::uint32_t kEnd64Locator = 0x07064b50;

// Lengths without names and extra fields.
inline constexpr std::size_t kLocalHeaderSize = 30;
inline constexpr std::size_t kDescriptorSize = 16;
inline constexpr std::size_t kDescriptor64Size = 24;
inline constexpr std::size_t kCentralHeaderSize = 46;
inline constexpr std::size_t kEndSize = 22;
inline constexpr std::size_t kEnd64Size = 56;
inline constexpr std::size_t kEnd64LocatorSize = 20;

// What a field of 16 or 32 bits has when the value is in the zip64 field.
inline constexpr std::uint16_t kIn64Short = 0xffff;
inline constexpr std::uint32_t kIn64 = 0xffffffff;

inline constexpr std::uint16_t kExtra64 = 0x0001;       // id of the zip64 field
inline constexpr std::uint16_t kExtraPadding = 0x4246;  // "FB", as PyTorch pads

inline constexpr std::uint16_t kEncrypted = 0x0001;      // flags
inline constexpr std::uint16_t kHasDescriptor = 0x0008;  // sizes and checksum follow the data
inline constexpr std::uint16_t kUtf8 = 0x0800;

inline constexpr std::uint16_t kStored = 0;  // methods
inline constexpr std::uint16_t kDeflated = 8;

inline constexpr std::uint16_t kVersion = 20;    // that a reader needs
inline constexpr std::uint16_t kVersion64 = 45;  // the same, with zip64

inline constexpr std::uint16_t kFirstDate =
    0x0021;  // 1 January 1980: files do not depend on clocks

}  // namespace fabric::detail::zip
