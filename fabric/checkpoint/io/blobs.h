// Moves tensors' bytes to and from files with all cores, checksummed on the way.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <fabric/checkpoint/io/checksum.h>
#include <fabric/checkpoint/io/file.h>
#include <fabric/checkpoint/stored_tensor.h>

namespace fabric::detail {

/// A run of bytes for a file: where they come from, and where they go.
struct Blob {
  std::shared_ptr<const TensorBytes> bytes;
  std::int64_t begin = 0;   ///< of the run in `bytes`
  std::int64_t size = 0;    ///< in bytes
  std::int64_t offset = 0;  ///< in the file
  /// Of each kChecksumChunk bytes, the last one shorter; filled by write_blobs.
  std::vector<std::uint32_t> checksums{};

  /// Of all of them together.
  std::uint32_t checksum() const;
};

/// Writes the blobs, in any order. Collective where some have a gather group: every rank passes the
/// same list, those that write nothing pass no file.
/// @throws CheckpointError when the first write fails, after all gathering: no rank is left waiting
void write_blobs(OutputFile* file, std::vector<Blob>& blobs);

/// A run of bytes that is wanted in host memory.
struct BlobRead {
  const TensorBytes* bytes = nullptr;
  std::int64_t begin = 0;
  std::int64_t size = 0;
  void* to = nullptr;
};

/// Reads all of them, in any order. Runs that cover all of their bytes are checked against their
/// checksum.
/// @throws CheckpointError for what cannot be read or is damaged; others may have been read by then
void read_blobs(const std::vector<BlobRead>& reads);

/// While it lives, `run_parallel` of this thread takes no other: for work beside a program that
/// computes.
struct BesideProgram {
  BesideProgram();
  ~BesideProgram();
  BesideProgram(const BesideProgram&) = delete;
  BesideProgram& operator=(const BesideProgram&) = delete;
};

/// Runs `work(0)` to `work(count - 1)` on the threads of this process that io may use (at least 2,
/// at most 4). Rethrows the first exception, after all threads have stopped.
void run_parallel(std::size_t count, const std::function<void(std::size_t)>& work);

}  // namespace fabric::detail
