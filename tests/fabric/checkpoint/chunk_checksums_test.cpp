#include <doctest/doctest.h>

#include <fabric/checkpoint/format/chunk_checksums.h>
#include <fabric/checkpoint/io/checksum.h>

namespace {

using fabric::detail::Blob;
using fabric::detail::kChecksumChunk;

std::vector<Blob> storages() {
  std::vector<Blob> all(4);
  all[0] = {nullptr, 0, 10, 0, {7}};
  all[1] = {nullptr, 0, 0, 0, {}};
  all[2] = {nullptr, 0, 2 * kChecksumChunk, 0, {1, 2}};
  all[3] = {nullptr, 0, 2 * kChecksumChunk + 1, 0, {3, 4, 0xffffffff}};
  return all;
}

const std::vector<std::int64_t> kSizes = {10, 0, 2 * kChecksumChunk, 2 * kChecksumChunk + 1};

}  // namespace

TEST_SUITE("fabric.checkpoint.chunk_checksums") {
  TEST_CASE("a record comes back") {
    const std::string record = fabric::detail::encode_chunk_checksums(storages());
    CHECK(static_cast<std::int64_t>(record.size()) ==
          fabric::detail::chunk_checksums_size(storages()));
    const auto checksums = fabric::detail::decode_chunk_checksums(record, kSizes);
    REQUIRE(checksums.has_value());
    for (std::size_t i = 0; i < kSizes.size(); ++i) {
      CHECK((*checksums)[i] == storages()[i].checksums);
    }
  }

  TEST_CASE("a record of other storages is none") {
    const std::string record = fabric::detail::encode_chunk_checksums(storages());
    const auto fits = [](const std::string& bytes, const std::vector<std::int64_t>& sizes) {
      return fabric::detail::decode_chunk_checksums(bytes, sizes).has_value();
    };
    for (std::size_t size = 0; size < record.size(); ++size) {
      CHECK_FALSE(fits(record.substr(0, size), kSizes));
    }
    CHECK_FALSE(fits(record + "x", kSizes));
    CHECK_FALSE(fits(record, {10, 0, 2 * kChecksumChunk}));
    CHECK_FALSE(fits(record, {10, 1, 2 * kChecksumChunk, 2 * kChecksumChunk + 1}));
    CHECK_FALSE(fits(record, {10, 0, 2 * kChecksumChunk, 2 * kChecksumChunk}));
    for (std::size_t byte = 0; byte < 16; ++byte) {
      std::string other = record;
      other[byte] = static_cast<char>(other[byte] ^ 1);
      CHECK_FALSE(fits(other, kSizes));
    }
  }

  TEST_CASE("checksums of chunks make that of the whole") {
    const std::string bytes(2 * kChecksumChunk + 100, 'x');
    std::vector<std::uint32_t> chunks;
    for (std::size_t at = 0; at < bytes.size(); at += kChecksumChunk) {
      const std::string chunk = bytes.substr(at, kChecksumChunk);
      chunks.push_back(fabric::detail::crc32(chunk.data(), chunk.size()));
    }
    CHECK(fabric::detail::checksum_of_chunks(chunks, static_cast<std::int64_t>(bytes.size())) ==
          fabric::detail::crc32(bytes.data(), bytes.size()));
    CHECK(fabric::detail::checksum_of_chunks({}, 0) == 0);
  }
}
