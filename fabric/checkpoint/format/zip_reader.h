// Reads zip archives whose records are stored as they are. All of an archive's structure is checked
// when it is opened; the data of its records is not touched.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <fabric/checkpoint/io/file.h>

namespace fabric::detail {

class ZipReader {
 public:
  struct Record {
    std::string_view name;
    std::int64_t offset = 0;  ///< of its data in the file (not in the archive)
    std::int64_t size = 0;    ///< as it lies there
    /// CRC-32 of its data; nothing where it was written without: zero, as PyTorch has it with
    /// set_crc32_options(False) for all records and with skip_data() for storages.
    std::optional<std::uint32_t> checksum{};
    bool compressed = false;
  };

  /// Opens the archive in bytes [begin, begin + size) of a file.
  /// @throws CheckpointError for an archive that is cut off or damaged (headers that contradict each
  ///         other, records that overlap or reach outside), or encrypted
  ZipReader(std::shared_ptr<const InputFile> file, std::int64_t begin, std::int64_t size);

  /// In the order of the directory. Names are valid as long as the reader.
  const std::vector<Record>& records() const { return records_; }
  /// Null where there is none.
  const Record* find(std::string_view name) const;
  /// @throws CheckpointError for a record that is compressed
  void check_stored(const Record& record) const;
  /// The whole data of a record, checked.
  /// @throws CheckpointError for one that is compressed, damaged, or larger than `most`
  std::string read(const Record& record, std::int64_t most) const;
  const std::shared_ptr<const InputFile>& file() const { return file_; }
  /// The CRC-32 of the directory, which has the checksums of all records.
  std::uint32_t directory_checksum() const;

 private:
  struct Header;
  class Window;

  std::int64_t find_directory();
  void find_directory64(std::int64_t end, std::uint64_t (&values)[3]);
  void read_directory(std::uint64_t count, std::int64_t begin, std::int64_t size);
  std::int64_t check_local_header(Window& window, const Header& header, Record& record) const;

  template <class... Text>
  void require(bool condition, const Text&... text) const;

  std::shared_ptr<const InputFile> file_;
  std::int64_t begin_;
  std::int64_t size_;
  std::string directory_;  // names of records lie in it
  std::vector<Record> records_;
  std::unordered_map<std::string_view, std::size_t> by_name_;
};

}  // namespace fabric::detail
