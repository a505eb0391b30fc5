#include <fabric/checkpoint/format/zip_writer.h>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/little_endian.h>
#include <fabric/checkpoint/format/zip_format.h>
#include <fabric/checkpoint/io/checksum.h>

namespace fabric::detail {
namespace {

bool is_large(std::int64_t value) {
  return value >= static_cast<std::int64_t>(zip::kIn64);
}

std::uint32_t low32(std::int64_t value) {
  return is_large(value) ? zip::kIn64 : static_cast<std::uint32_t>(value);
}

std::uint16_t version_of(bool large) {
  return large ? zip::kVersion64 : zip::kVersion;
}

std::uint16_t flags_of(std::int64_t size) {
  return size > 0 ? zip::kUtf8 | zip::kHasDescriptor : zip::kUtf8;
}

// The zip64 field: 4 bytes of its own, and 8 for each value that needs them.
std::int64_t extra64_size(std::int64_t size, std::int64_t header) {
  return is_large(size) || is_large(header)
             ? 4 + (is_large(size) ? 16 : 0) + (is_large(header) ? 8 : 0)
             : 0;
}

void append_extra64(std::string& bytes, std::int64_t size, std::int64_t header) {
  const std::int64_t length = extra64_size(size, header);
  if (length == 0) {
    return;
  }
  append_little_endian(bytes, zip::kExtra64);
  append_little_endian(bytes, static_cast<std::uint16_t>(length - 4));
  if (is_large(size)) {
    append_little_endian(bytes, static_cast<std::uint64_t>(size));  // whole and compressed
    append_little_endian(bytes, static_cast<std::uint64_t>(size));
  }
  if (is_large(header)) {
    append_little_endian(bytes, static_cast<std::uint64_t>(header));
  }
}

}  // namespace

bool ZipLayout::Record::large() const {
  return is_large(size) || is_large(header);
}

std::int64_t ZipLayout::Record::end() const {
  const std::size_t descriptor = large() ? zip::kDescriptor64Size : zip::kDescriptorSize;
  return offset + size + (size > 0 ? static_cast<std::int64_t>(descriptor) : 0);
}

std::size_t ZipLayout::add(std::string name, std::int64_t size) {
  FABRIC_CHECK(Checkpoint, name.size() < zip::kIn64Short, "[fabric.save] the name of a record has ",
               name.size(), " characters; expected fewer than ", zip::kIn64Short);
  Record record{std::move(name), records_.empty() ? 0 : records_.back().end(), 0, size};
  const std::int64_t unpadded = record.header + static_cast<std::int64_t>(zip::kLocalHeaderSize) +
                                static_cast<std::int64_t>(record.name.size()) +
                                extra64_size(size, record.header) + 4;
  record.offset = (unpadded + kAlignment - 1) / kAlignment * kAlignment;
  records_.push_back(std::move(record));
  return records_.size() - 1;
}

void ZipLayout::append_local_header(std::string& bytes, const Record& record) const {
  const std::size_t begin = bytes.size();
  const std::int64_t whole = record.offset - record.header;
  const std::int64_t extra = whole - static_cast<std::int64_t>(zip::kLocalHeaderSize) -
                             static_cast<std::int64_t>(record.name.size());
  append_little_endian(bytes, zip::kLocalHeader);
  append_little_endian(bytes, version_of(record.large()));
  append_little_endian(bytes, flags_of(record.size));
  append_little_endian(bytes, zip::kStored);
  append_little_endian(bytes, std::uint16_t{0});  // time
  append_little_endian(bytes, zip::kFirstDate);
  bytes.append(12, '\0');  // checksum and sizes: in the descriptor
  append_little_endian(bytes, static_cast<std::uint16_t>(record.name.size()));
  append_little_endian(bytes, static_cast<std::uint16_t>(extra));
  bytes += record.name;
  append_extra64(bytes, record.size, record.header);
  append_little_endian(bytes, zip::kExtraPadding);
  const std::size_t padding = begin + static_cast<std::size_t>(whole) - bytes.size() - 2;
  append_little_endian(bytes, static_cast<std::uint16_t>(padding));
  bytes.append(padding, 'Z');
}

void ZipLayout::append_descriptor(std::string& bytes, const Record& record,
                                  std::uint32_t checksum) const {
  if (record.size == 0) {
    return;
  }
  append_little_endian(bytes, zip::kDescriptor);
  append_little_endian(bytes, checksum);
  for (int i = 0; i < 2; ++i) {  // compressed and whole
    if (record.large()) {
      append_little_endian(bytes, static_cast<std::uint64_t>(record.size));
    } else {
      append_little_endian(bytes, static_cast<std::uint32_t>(record.size));
    }
  }
}

void ZipLayout::append_central_header(std::string& bytes, const Record& record,
                                      std::uint32_t checksum) const {
  append_little_endian(bytes, zip::kCentralHeader);
  append_little_endian(bytes, version_of(record.large()));  // made by
  append_little_endian(bytes, version_of(record.large()));
  append_little_endian(bytes, flags_of(record.size));
  append_little_endian(bytes, zip::kStored);
  append_little_endian(bytes, std::uint16_t{0});
  append_little_endian(bytes, zip::kFirstDate);
  append_little_endian(bytes, checksum);
  append_little_endian(bytes, low32(record.size));
  append_little_endian(bytes, low32(record.size));
  append_little_endian(bytes, static_cast<std::uint16_t>(record.name.size()));
  append_little_endian(bytes, static_cast<std::uint16_t>(extra64_size(record.size, record.header)));
  bytes.append(10, '\0');  // comment, disk, attributes
  append_little_endian(bytes, low32(record.header));
  bytes += record.name;
  append_extra64(bytes, record.size, record.header);
}

std::int64_t ZipLayout::directory_size() const {
  std::int64_t size = 0;
  for (const Record& record : records_) {
    size += static_cast<std::int64_t>(zip::kCentralHeaderSize + record.name.size()) +
            extra64_size(record.size, record.header);
  }
  return size;
}

std::int64_t ZipLayout::file_size() const {
  return records_.back().end() + directory_size() +
         static_cast<std::int64_t>(zip::kEnd64Size + zip::kEnd64LocatorSize + zip::kEndSize);
}

// Always with zip64's end, as PyTorch writes it.
void ZipLayout::append_end(std::string& bytes, std::int64_t directory,
                           std::int64_t directory_size) const {
  const auto count = static_cast<std::uint64_t>(records_.size());
  append_little_endian(bytes, zip::kEnd64);
  append_little_endian(bytes, std::uint64_t{zip::kEnd64Size - 12});  // what follows
  append_little_endian(bytes, zip::kVersion64);
  append_little_endian(bytes, zip::kVersion64);
  append_little_endian(bytes, std::uint64_t{0});  // disks
  append_little_endian(bytes, count);
  append_little_endian(bytes, count);
  append_little_endian(bytes, static_cast<std::uint64_t>(directory_size));
  append_little_endian(bytes, static_cast<std::uint64_t>(directory));

  append_little_endian(bytes, zip::kEnd64Locator);
  append_little_endian(bytes, std::uint32_t{0});
  append_little_endian(bytes, static_cast<std::uint64_t>(directory + directory_size));
  append_little_endian(bytes, std::uint32_t{1});  // disks

  const auto short_count =
      static_cast<std::uint16_t>(count < zip::kIn64Short ? count : zip::kIn64Short);
  append_little_endian(bytes, zip::kEnd);
  append_little_endian(bytes, std::uint32_t{0});  // disks
  append_little_endian(bytes, short_count);
  append_little_endian(bytes, short_count);
  append_little_endian(bytes, low32(directory_size));
  append_little_endian(bytes, low32(directory));
  append_little_endian(bytes, std::uint16_t{0});  // comment
}

std::uint32_t ZipLayout::write_headers(OutputFile& file,
                                       const std::vector<std::uint32_t>& checksums) const {
  std::string bytes;
  for (std::size_t i = 0; i < records_.size(); ++i) {
    // Between two records' data lie the descriptor of one and the header of the other.
    bytes.clear();
    if (i > 0) {
      append_descriptor(bytes, records_[i - 1], checksums[i - 1]);
    }
    append_local_header(bytes, records_[i]);
    const auto count = static_cast<std::int64_t>(bytes.size());
    file.write(records_[i].offset - count, bytes.data(), count);
  }
  const Record& last = records_.back();
  bytes.clear();
  append_descriptor(bytes, last, checksums.back());
  const std::size_t directory = bytes.size();
  for (std::size_t i = 0; i < records_.size(); ++i) {
    append_central_header(bytes, records_[i], checksums[i]);
  }
  const std::size_t size = bytes.size() - directory;
  const std::uint32_t checksum = crc32(bytes.data() + directory, size);
  append_end(bytes, last.end(), static_cast<std::int64_t>(size));
  file.write(last.offset + last.size, bytes.data(), static_cast<std::int64_t>(bytes.size()));
  return checksum;
}

}  // namespace fabric::detail
