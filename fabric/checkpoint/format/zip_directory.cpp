#include <fabric/checkpoint/format/zip_directory.h>

#include <algorithm>
#include <string>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/little_endian.h>
#include <fabric/checkpoint/format/zip_format.h>

namespace fabric::detail {
namespace {

constexpr std::int64_t kMostComment = 65535;

template <class... Text>
void require(const InputFile& file, bool condition, const Text&... text) {
  FABRIC_CHECK(Checkpoint, condition, "[fabric.load] ", file.path().string(), " ", text...);
}

// What an end record says, as it stands there.
struct EndValues {
  std::uint64_t count = 0;
  std::uint64_t size = 0;
  std::uint64_t begin = 0;
};

// Where the end record begins in the archive. A comment may follow it.
std::int64_t find_end(const InputFile& file, std::int64_t begin, std::int64_t size) {
  constexpr auto kSize = static_cast<std::int64_t>(zip::kEndSize);
  for (const std::int64_t looked : {kSize, kSize + kMostComment}) {
    const std::int64_t count = std::min(looked, size);
    const std::string tail = file.read(begin + size - count, count);
    for (std::int64_t i = count - kSize; i >= 0; --i) {
      const auto at = static_cast<std::size_t>(i);
      if (little_endian<std::uint32_t>(tail, at) == zip::kEnd &&
          little_endian<std::uint16_t>(tail, at + 20) == count - kSize - i) {
        return size - count + i;
      }
    }
  }
  require(file, false, "is no complete archive: it has no end record. Hint: it is cut off, or no ",
          "file of torch.save.");
  return 0;
}

EndValues read_end(const InputFile& file, std::int64_t at) {
  const std::string bytes = file.read(at, static_cast<std::int64_t>(zip::kEndSize));
  require(file,
          little_endian<std::uint32_t>(bytes, 4) == 0 &&
              little_endian<std::uint16_t>(bytes, 8) == little_endian<std::uint16_t>(bytes, 10),
          "is one part of an archive in several, or damaged; expected a whole archive");
  return {little_endian<std::uint16_t>(bytes, 8), little_endian<std::uint32_t>(bytes, 12),
          little_endian<std::uint32_t>(bytes, 16)};
}

// Takes the values of zip64's end record, which lies before the other one if there is one.
// @returns where the first of them begins
std::int64_t read_end64(const InputFile& file, std::int64_t begin, std::int64_t end,
                        EndValues& values) {
  constexpr auto kRecord = static_cast<std::int64_t>(zip::kEnd64Size);
  constexpr auto kLocator = static_cast<std::int64_t>(zip::kEnd64LocatorSize);
  if (end < kRecord + kLocator) {
    return end;
  }
  const std::string bytes = file.read(begin + end - kLocator - kRecord, kRecord + kLocator);
  const auto locator = static_cast<std::size_t>(kRecord);
  if (little_endian<std::uint32_t>(bytes, locator) != zip::kEnd64Locator) {
    return end;
  }
  end -= kLocator + kRecord;
  require(file,
          little_endian<std::uint32_t>(bytes) == zip::kEnd64 &&
              little_endian<std::uint64_t>(bytes, 4) == zip::kEnd64Size - 12 &&
              little_endian<std::uint64_t>(bytes, 16) == 0 &&
              little_endian<std::uint64_t>(bytes, 24) == little_endian<std::uint64_t>(bytes, 32) &&
              little_endian<std::uint32_t>(bytes, locator + 4) == 0 &&
              little_endian<std::uint64_t>(bytes, locator + 8) == static_cast<std::uint64_t>(end) &&
              little_endian<std::uint32_t>(bytes, locator + 16) <= 1,
          "has a damaged end record (zip64)");
  const EndValues wide{little_endian<std::uint64_t>(bytes, 24),
                       little_endian<std::uint64_t>(bytes, 40),
                       little_endian<std::uint64_t>(bytes, 48)};
  require(file,
          (values.count == zip::kIn64Short || values.count == wide.count) &&
              (values.size == zip::kIn64 || values.size == wide.size) &&
              (values.begin == zip::kIn64 || values.begin == wide.begin),
          "is damaged: its two end records differ");
  values = wide;
  return end;
}

}  // namespace

ZipDirectory find_zip_directory(const InputFile& file, std::int64_t begin, std::int64_t size) {
  require(file, begin >= 0 && size >= 0 && begin <= file.size() && size <= file.size() - begin,
          "is too short for the archive in it; got ", file.size(), " bytes; expected ", size,
          " from byte ", begin, " on");
  std::int64_t end = find_end(file, begin, size);
  EndValues values = read_end(file, begin + end);
  end = read_end64(file, begin, end, values);
  require(file,
          values.begin <= static_cast<std::uint64_t>(end) &&
              values.size == static_cast<std::uint64_t>(end) - values.begin,
          "is damaged: its directory does not end where its end record begins");
  return {values.count, static_cast<std::int64_t>(values.begin),
          static_cast<std::int64_t>(values.size)};
}

}  // namespace fabric::detail
