// Writes zip archives whose records are stored as they are, with zip64 where it is needed. All sizes
// are known before the first byte is written, so every place in the file is known too.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <fabric/checkpoint/io/file.h>

namespace fabric::detail {

/// The places of an archive's records, in the layout that PyTorch's writer gives them: data aligned by
/// padding in the local header, a descriptor behind it. PyTorch computes places from that layout.
class ZipLayout {
 public:
  /// Appends a record. @returns its number
  std::size_t add(std::string name, std::int64_t size);

  std::size_t size() const { return records_.size(); }
  /// Of a record's data in the file.
  std::int64_t offset(std::size_t record) const { return records_[record].offset; }
  /// Of the whole archive, if nothing is added any more.
  std::int64_t file_size() const;

  /// Writes all that is not data: headers, descriptors, the directory.
  /// @param checksums the CRC-32 of each record's data
  /// @returns that of the directory
  std::uint32_t write_headers(OutputFile& file, const std::vector<std::uint32_t>& checksums) const;

  /// The alignment of all data.
  static constexpr std::int64_t kAlignment = 64;

 private:
  struct Record {
    std::string name;
    std::int64_t header = 0;
    std::int64_t offset = 0;
    std::int64_t size = 0;
    bool large() const;  // whether its places need zip64
    std::int64_t end() const;
  };
  void append_local_header(std::string& bytes, const Record& record) const;
  void append_descriptor(std::string& bytes, const Record& record, std::uint32_t checksum) const;
  void append_central_header(std::string& bytes, const Record& record,
                             std::uint32_t checksum) const;
  std::int64_t directory_size() const;
  void append_end(std::string& bytes, std::int64_t directory, std::int64_t directory_size) const;

  std::vector<Record> records_;
};

}  // namespace fabric::detail
