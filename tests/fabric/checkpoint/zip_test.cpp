#include <doctest/doctest.h>

#include <cstring>
#include <numeric>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/little_endian.h>
#include <fabric/checkpoint/format/zip_format.h>
#include <fabric/checkpoint/format/zip_reader.h>
#include <fabric/checkpoint/format/zip_writer.h>
#include <fabric/checkpoint/io/checksum.h>
#include <tests/support/memory_files.h>

namespace {

using fabric::detail::InputFile;
using fabric::detail::OutputFile;
using fabric::detail::ZipLayout;
using fabric::detail::ZipReader;

using Records = std::vector<std::pair<std::string, std::string>>;

// An archive with these records, in memory.
std::string archive(support::MemoryFiles& files, const Records& records) {
  ZipLayout layout;
  std::vector<std::uint32_t> checksums;
  for (const auto& [name, data] : records) {
    layout.add(name, static_cast<std::int64_t>(data.size()));
    checksums.push_back(fabric::detail::crc32(data.data(), data.size()));
  }
  OutputFile file("a.zip", layout.file_size());
  for (std::size_t i = 0; i < records.size(); ++i) {
    file.write(layout.offset(i), records[i].second.data(),
               static_cast<std::int64_t>(records[i].second.size()));
  }
  layout.write_headers(file, checksums);
  file.commit();
  std::string bytes = files.read("a.zip");
  CHECK(static_cast<std::int64_t>(bytes.size()) == layout.file_size());
  return bytes;
}

// All records of an archive, read and checked.
Records read(support::MemoryFiles& files, const std::string& bytes, std::size_t begin = 0,
             std::size_t behind = 0) {
  files.write("b.zip", bytes);
  const ZipReader zip(std::make_shared<InputFile>("b.zip"), static_cast<std::int64_t>(begin),
                      static_cast<std::int64_t>(bytes.size() - begin - behind));
  Records records;
  for (const ZipReader::Record& record : zip.records()) {
    records.emplace_back(record.name, zip.read(record, 1 << 20));
  }
  return records;
}

std::string error_of(support::MemoryFiles& files, const std::string& bytes) {
  try {
    read(files, bytes);
  } catch (const fabric::CheckpointError& error) {
    return error.what();
  }
  return "no error";
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// The archive with a number of it changed, wherever its header is.
std::string changed(std::string bytes, std::uint32_t signature, std::size_t at, char value) {
  std::string mark;
  fabric::detail::append_little_endian(mark, signature);
  bytes.at(bytes.find(mark) + at) = value;
  return bytes;
}

const Records kRecords = {{"a/data.pkl", "pickle"}, {"a/empty", ""}, {"a/data/0", std::string(200, 'x')}};

}  // namespace

TEST_SUITE("fabric.checkpoint.zip") {
  TEST_CASE("records come back, with their data aligned") {
    support::MemoryFiles files;
    const std::string bytes = archive(files, kRecords);
    CHECK(read(files, bytes) == kRecords);
    const ZipReader zip(std::make_shared<InputFile>("b.zip"), 0,
                        static_cast<std::int64_t>(bytes.size()));
    for (const ZipReader::Record& record : zip.records()) {
      CHECK(record.offset % 64 == 0);
    }
    CHECK(zip.find("a/data/0")->size == 200);
    CHECK(zip.find("a/data/1") == nullptr);
  }

  TEST_CASE("an archive inside a larger file, and with a comment") {
    support::MemoryFiles files;
    const std::string bytes = archive(files, kRecords);
    CHECK(read(files, "before" + bytes + "behind", 6, 6) == kRecords);
    std::string commented = bytes + "comment";
    commented[bytes.size() - 2] = 7;
    CHECK(read(files, commented) == kRecords);
  }

  TEST_CASE("more records than 16 bits count") {
    support::MemoryFiles files;
    Records records;
    for (int i = 0; i < 70000; ++i) {
      records.emplace_back("a/" + std::to_string(i), i % 2 == 0 ? "" : "x");
    }
    CHECK(read(files, archive(files, records)) == records);
  }

  TEST_CASE("more bytes than 32 bits count") {
    support::MemoryFiles files;  // zeros take no room there
    constexpr std::int64_t kLarge = (std::int64_t{1} << 32) + 12345;
    ZipLayout layout;
    layout.add("a/small", 3);
    layout.add("a/large", kLarge);
    layout.add("a/behind", 5);
    layout.add("a/empty", 0);
    OutputFile file("large.zip", layout.file_size());
    file.write(layout.offset(0), "abc", 3);
    file.write(layout.offset(1) + kLarge - 4, "last", 4);
    file.write(layout.offset(2), "after", 5);
    // Its data is not read here, so any checksum will do.
    layout.write_headers(file, {fabric::detail::crc32("abc", 3), 7, fabric::detail::crc32("after", 5), 0});
    file.commit();
    const auto input = std::make_shared<InputFile>("large.zip");
    CHECK(input->size() == layout.file_size());
    const std::int64_t before = InputFile::bytes_read();
    const ZipReader zip(input, 0, input->size());
    CHECK(InputFile::bytes_read() - before < 100000);
    CHECK(zip.find("a/large")->size == kLarge);
    CHECK(zip.read(*zip.find("a/small"), 10) == "abc");
    CHECK(zip.read(*zip.find("a/behind"), 10) == "after");
    CHECK(zip.read(*zip.find("a/empty"), 10).empty());
    CHECK(zip.find("a/behind")->offset > kLarge);
    CHECK(zip.find("a/behind")->offset % 64 == 0);
    CHECK(input->read(zip.find("a/large")->offset + kLarge - 4, 4) == "last");
    CHECK_THROWS_AS(zip.read(*zip.find("a/large"), 1 << 20), fabric::CheckpointError);
  }

  TEST_CASE("an archive that is cut off is an error, wherever") {
    support::MemoryFiles files;
    const std::string bytes = archive(files, kRecords);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      CAPTURE(size);
      CHECK_THROWS_AS(read(files, bytes.substr(0, size)), fabric::CheckpointError);
      CHECK_THROWS_AS(read(files, bytes.substr(bytes.size() - size)), fabric::CheckpointError);
    }
  }

  TEST_CASE("a bit that flips is an error, or changes nothing") {
    support::MemoryFiles files;
    const std::string bytes = archive(files, kRecords);
    int harmless = 0;
    for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
      std::string flipped = bytes;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
      CAPTURE(bit);
      bool same = true;
      try {
        same = read(files, flipped) == kRecords;
        ++harmless;
      } catch (const fabric::CheckpointError&) {
      }
      CHECK(same);
    }
    CHECK(harmless < static_cast<int>(8 * bytes.size() / 2));  // padding, dates, attributes
  }

  TEST_CASE("what cannot be read says why") {
    namespace zip = fabric::detail::zip;
    support::MemoryFiles files;
    const std::string bytes = archive(files, kRecords);
    CHECK(has(error_of(files, changed(changed(bytes, zip::kCentralHeader, 10, 8),
                                      zip::kLocalHeader, 8, 8)),
              "compressed"));
    CHECK(has(error_of(files, changed(bytes, zip::kCentralHeader, 10, 8)), "different things"));
    CHECK(has(error_of(files, changed(bytes, zip::kCentralHeader, 8, 9)), "encrypted"));
    CHECK(has(error_of(files, changed(bytes, zip::kLocalHeader, 8, 8)), "different things"));
    CHECK(has(error_of(files, changed(bytes, zip::kLocalHeader, 30, 'b')), "not where it should be"));
    CHECK(has(error_of(files, changed(bytes, zip::kDescriptor, 4, 1)), "different things"));
    CHECK(has(error_of(files, changed(bytes, zip::kCentralHeader, 42, 64)), "not where it should be"));
    CHECK(has(error_of(files, changed(bytes, zip::kEnd, 4, 1)), "in several"));
    CHECK(has(error_of(files, std::string(1000, '\0')), "no end record"));
    CHECK(has(error_of(files, ""), "no end record"));
    CHECK(has(error_of(files, archive(files, {{"a/x", "1"}, {"a/x", "2"}})), "two records"));
    std::string damaged = bytes;
    damaged[damaged.find("pickle")] = 'P';
    CHECK(has(error_of(files, damaged), "checksum of the record 'a/data.pkl'"));
    CHECK_THROWS_WITH_AS(read(files, bytes, bytes.size() + 1, 0), doctest::Contains("too short"),
                         fabric::CheckpointError);
  }

  TEST_CASE("records may not lie over each other") {
    support::MemoryFiles files;
    // The second header lies in the data of the first.
    const std::string inner = archive(files, {{"a", "1"}});
    const std::string outer = archive(files, {{"b", inner}, {"a", "1"}});
    std::string mark;
    fabric::detail::append_little_endian(mark, fabric::detail::zip::kCentralHeader);
    std::string overlapping = outer;
    const std::size_t last = overlapping.rfind(mark);
    const std::size_t place = overlapping.find(inner);
    overlapping[last + 42] = static_cast<char>(place);
    overlapping[last + 43] = static_cast<char>(place >> 8);
    CHECK(has(error_of(files, overlapping), "lies over another one"));
  }

  TEST_CASE("an archive without checksums is read without") {
    support::MemoryFiles files;
    ZipLayout layout;
    layout.add("a/x", 3);
    OutputFile file("none.zip", 0);
    file.write(layout.offset(0), "abc", 3);
    layout.write_headers(file, {0});
    file.commit();
    const auto input = std::make_shared<InputFile>("none.zip");
    const ZipReader zip(input, 0, input->size());
    CHECK_FALSE(zip.records()[0].checksum.has_value());
    CHECK(zip.read(zip.records()[0], 3) == "abc");
  }
}
