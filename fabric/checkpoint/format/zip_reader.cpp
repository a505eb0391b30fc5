#include <fabric/checkpoint/format/zip_reader.h>

#include <algorithm>
#include <numeric>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/little_endian.h>
#include <fabric/checkpoint/format/printable.h>
#include <fabric/checkpoint/format/zip_directory.h>
#include <fabric/checkpoint/format/zip_format.h>
#include <fabric/checkpoint/io/checksum.h>

namespace fabric::detail {
namespace {

// Of a record: sums of such numbers are far from what 64 bits hold.
constexpr std::uint64_t kMost = std::uint64_t{1} << 60;

// Of the directory: far more records than states have tensors.
constexpr std::int64_t kMostDirectory = std::int64_t{1} << 30;

// The zip64 field of a header, empty where it has none.
std::string_view extra64(std::string_view extra) {
  while (extra.size() >= 4) {
    const std::size_t length = little_endian<std::uint16_t>(extra, 2);
    if (length > extra.size() - 4) {
      break;
    }
    if (little_endian<std::uint16_t>(extra) == zip::kExtra64) {
      return extra.substr(4, length);
    }
    extra.remove_prefix(4 + length);
  }
  return {};
}

bool has_extra64(std::string_view extra) {
  return extra64(extra).data() != nullptr;
}

}  // namespace

// What the directory says of a record, before its place is known.
struct ZipReader::Header {
  std::string_view name;
  std::uint16_t flags = 0;
  std::uint16_t method = 0;
  std::uint32_t checksum = 0;
  std::int64_t whole = 0;   // bytes of its data
  std::int64_t stored = 0;  // and as they lie in the archive
  std::int64_t begin = 0;   // of the local header, in the archive
};

// Small parts of the archive, front to back: those that lie close together come with one read.
class ZipReader::Window {
 public:
  Window(const InputFile& file, std::int64_t begin, std::int64_t end)
      : file_(file), begin_(begin), end_(end) {}

  std::int64_t end() const { return end_; }

  // Valid until the next call; empty where the archive's records end before that.
  std::string_view view(std::int64_t offset, std::int64_t count) {
    if (offset > end_ || count > end_ - offset) {
      return {};
    }
    const auto held = static_cast<std::int64_t>(bytes_.size());
    if (offset < first_ || offset + count > first_ + held) {
      constexpr std::int64_t kRead = 4096;
      first_ = offset;
      bytes_ = file_.read(begin_ + offset, std::min(std::max(count, kRead), end_ - offset));
    }
    return std::string_view(bytes_).substr(static_cast<std::size_t>(offset - first_),
                                           static_cast<std::size_t>(count));
  }

 private:
  const InputFile& file_;
  std::int64_t begin_;
  std::int64_t end_;
  std::int64_t first_ = 0;
  std::string bytes_;
};

template <class... Text>
void ZipReader::require(bool condition, const Text&... text) const {
  FABRIC_CHECK(Checkpoint, condition, "[fabric.load] ", file_->path().string(), " ", text...);
}

ZipReader::ZipReader(std::shared_ptr<const InputFile> file, std::int64_t begin, std::int64_t size)
    : file_(std::move(file)), begin_(begin), size_(size) {
  read_directory(find_zip_directory(*file_, begin, size));
}

void ZipReader::read_directory(const ZipDirectory& place) {
  const auto& [count, begin, size] = place;
  require(
      size <= kMostDirectory && count <= static_cast<std::uint64_t>(size) / zip::kCentralHeaderSize,
      "is damaged: its directory has ", count, " records in ", size, " bytes");
  directory_ = file_->read(begin_ + begin, size);
  std::vector<Header> headers;
  headers.reserve(static_cast<std::size_t>(count));
  std::string_view rest = directory_;
  for (std::uint64_t i = 0; i < count; ++i) {
    require(rest.size() >= zip::kCentralHeaderSize &&
                little_endian<std::uint32_t>(rest) == zip::kCentralHeader,
            "is damaged: record ", i, " of its directory is none");
    const std::size_t name = little_endian<std::uint16_t>(rest, 28);
    const std::size_t extra = little_endian<std::uint16_t>(rest, 30);
    const std::size_t comment = little_endian<std::uint16_t>(rest, 32);
    require(rest.size() - zip::kCentralHeaderSize >= name + extra + comment, "is damaged: record ",
            i, " of its directory is cut off");
    Header header;
    header.name = rest.substr(zip::kCentralHeaderSize, name);
    header.flags = little_endian<std::uint16_t>(rest, 8);
    header.checksum = little_endian<std::uint32_t>(rest, 16);
    require((header.flags & zip::kEncrypted) == 0, "is encrypted; got the record '",
            Printable{header.name}, "'; expected plain ones");
    header.method = little_endian<std::uint16_t>(rest, 10);
    // Values that do not fit stand in the zip64 field, in this order.
    std::string_view large = extra64(rest.substr(zip::kCentralHeaderSize + name, extra));
    const auto value = [&](std::size_t at) {
      const std::uint64_t narrow = little_endian<std::uint32_t>(rest, at);
      if (narrow != zip::kIn64 || large.size() < 8) {
        return narrow;
      }
      const auto wide = little_endian<std::uint64_t>(large);
      large.remove_prefix(8);
      return wide;
    };
    const std::uint64_t whole = value(24);
    const std::uint64_t stored = value(20);
    const std::uint64_t place = value(42);
    require((whole == stored || header.method != zip::kStored) && whole < kMost && stored < kMost &&
                place <= static_cast<std::uint64_t>(begin) &&
                little_endian<std::uint16_t>(rest, 34) == 0,
            "is damaged: the record '", Printable{header.name}, "' lies outside of it");
    header.whole = static_cast<std::int64_t>(whole);
    header.stored = static_cast<std::int64_t>(stored);
    header.begin = static_cast<std::int64_t>(place);
    headers.push_back(header);
    rest.remove_prefix(zip::kCentralHeaderSize + name + extra + comment);
  }
  require(rest.empty(), "is damaged: its directory is longer than its records");

  records_.resize(headers.size());
  by_name_.reserve(headers.size());
  for (std::size_t i = 0; i < headers.size(); ++i) {
    records_[i] = {headers[i].name, 0, headers[i].stored, headers[i].checksum,
                   headers[i].method != zip::kStored};
    if (headers[i].checksum == 0 && headers[i].stored > 0) {
      records_[i].checksum.reset();
    }
    require(by_name_.emplace(headers[i].name, i).second, "is damaged: it has two records '",
            Printable{headers[i].name}, "'");
  }
  std::vector<std::size_t> order(headers.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return headers[a].begin < headers[b].begin;
  });
  Window window(*file_, begin_, begin);
  std::int64_t end = 0;  // of the records so far
  for (const std::size_t i : order) {
    require(headers[i].begin >= end, "is damaged: the record '", Printable{headers[i].name},
            "' lies over another one");
    end = check_local_header(window, headers[i], records_[i]);
  }
}

// Fills in the place of the data. @returns the end of the record
std::int64_t ZipReader::check_local_header(Window& window, const Header& header,
                                           Record& record) const {
  constexpr auto kSize = static_cast<std::int64_t>(zip::kLocalHeaderSize);
  const auto name = static_cast<std::int64_t>(header.name.size());
  const std::string_view bytes = window.view(header.begin, kSize + name);
  require(!bytes.empty() && little_endian<std::uint32_t>(bytes) == zip::kLocalHeader &&
              little_endian<std::uint16_t>(bytes, 26) == header.name.size() &&
              bytes.substr(zip::kLocalHeaderSize) == header.name,
          "is damaged: the header of the record '", Printable{header.name},
          "' is not where it should be");
  const std::uint16_t flags = little_endian<std::uint16_t>(bytes, 6);
  const bool descriptor = (flags & zip::kHasDescriptor) != 0;
  const auto checksum = little_endian<std::uint32_t>(bytes, 14);
  const std::uint32_t sizes[2] = {little_endian<std::uint32_t>(bytes, 22),
                                  little_endian<std::uint32_t>(bytes, 18)};
  const std::uint64_t expected[2] = {static_cast<std::uint64_t>(header.whole),
                                     static_cast<std::uint64_t>(header.stored)};
  const std::int64_t extra_size = little_endian<std::uint16_t>(bytes, 28);
  bool same = flags == header.flags && little_endian<std::uint16_t>(bytes, 8) == header.method &&
              (checksum == header.checksum || (descriptor && checksum == 0));

  const std::int64_t data = header.begin + kSize + name + extra_size;
  const std::string_view extra = window.view(header.begin + kSize + name, extra_size);
  const std::string_view large = extra64(extra);
  const bool wide = has_extra64(extra);
  for (std::size_t i = 0; i < 2; ++i) {
    const bool in64 = sizes[i] == zip::kIn64 && large.size() >= 16;
    const std::uint64_t size = in64 ? little_endian<std::uint64_t>(large, 8 * i) : sizes[i];
    same = same && (size == expected[i] || (descriptor && size == 0));
  }
  std::int64_t end = data + header.stored;
  if (descriptor) {
    const auto count =
        static_cast<std::int64_t>(wide ? zip::kDescriptor64Size : zip::kDescriptorSize);
    const std::string_view after = window.view(end, count);
    same = same && !after.empty() && little_endian<std::uint32_t>(after) == zip::kDescriptor &&
           little_endian<std::uint32_t>(after, 4) == header.checksum &&
           (wide ? little_endian<std::uint64_t>(after, 8) == expected[1] &&
                       little_endian<std::uint64_t>(after, 16) == expected[0]
                 : little_endian<std::uint32_t>(after, 8) == expected[1] &&
                       little_endian<std::uint32_t>(after, 12) == expected[0]);
    end += count;
  }
  require(same, "is damaged: the record '", Printable{header.name},
          "' and the directory say different things of it");
  require(end <= window.end(), "is damaged: the record '", Printable{header.name},
          "' reaches into the directory");
  record.offset = begin_ + data;
  return end;
}

const ZipReader::Record* ZipReader::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &records_[found->second];
}

void ZipReader::check_stored(const Record& record) const {
  require(
      !record.compressed, "is compressed; got the record '", Printable{record.name},
      "'; expected stored ones, as torch.save writes them. Hint: save it again with torch.save.");
}

std::uint32_t ZipReader::directory_checksum() const {
  return crc32(directory_.data(), directory_.size());
}

std::string ZipReader::read(const Record& record, std::int64_t most) const {
  check_stored(record);
  require(record.size <= most, "has a record '", Printable{record.name}, "' of ", record.size,
          " bytes; expected at most ", most);
  std::string data = file_->read(record.offset, record.size);
  require(!record.checksum || crc32(data.data(), data.size()) == *record.checksum,
          "is damaged: the checksum of the record '", Printable{record.name},
          "' is another than when it was written");
  return data;
}

}  // namespace fabric::detail
