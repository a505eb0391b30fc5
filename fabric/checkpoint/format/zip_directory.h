// Where the directory of a zip archive lies: what the records at the archive's end say.
#pragma once

#include <cstdint>

#include <fabric/checkpoint/io/file.h>

namespace fabric::detail {

struct ZipDirectory {
  std::uint64_t count = 0;  ///< of records, as the end record has it
  std::int64_t begin = 0;   ///< in the archive
  std::int64_t size = 0;
};

/// Finds the directory of the archive in bytes [begin, begin + size) of a file.
/// @throws CheckpointError where there is no end record, where the two kinds of it differ, where
/// the
///         directory does not end where they begin, and for archives in several parts
ZipDirectory find_zip_directory(const InputFile& file, std::int64_t begin, std::int64_t size);

}  // namespace fabric::detail
