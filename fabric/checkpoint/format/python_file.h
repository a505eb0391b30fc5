// Files as Python's torch.save writes and torch.load(weights_only=True) reads them: a zip of a pickle
// and the tensors' storages.
//
// A file of ours is stored (not compressed), aligned to 64 bytes so that `mmap=True` works, and has
// one record more than Python's, with a checksum of each MiB; Python does not look at it.
#pragma once

#include <filesystem>
#include <memory>

#include <fabric/checkpoint/io/file.h>
#include <fabric/checkpoint/state_value.h>

namespace fabric::detail {

/// Writes `state` to `path`, complete or not at all. Collective where tensors are cut over ranks:
/// every rank passes the same state, `writes` says which of them writes.
/// @throws CheckpointError for what Python's reader would refuse (a key that is no string, integer,
///         real number, bool, None or tuple of those; a frozenset), for errors of the disk
void write_python_file(const std::filesystem::path& path, const StateValue& state, bool writes);

/// What tells a file from others.
struct FileSummary {
  std::int64_t bytes = 0;
  /// Of the archive's directory, which has the checksums of all records.
  std::uint32_t checksum = 0;
};

/// The same for a file that is open already, on the one rank that writes.
FileSummary write_python_file(std::unique_ptr<OutputFile> file, const StateValue& state);

/// @throws CheckpointError for a file that is no archive
FileSummary python_file_summary(std::shared_ptr<const InputFile> file);

/// Whether a file begins as a zip does.
bool is_python_file(const InputFile& file);

/// Reads what `torch.save` or we wrote. Tensors stay in the file until they are asked for.
/// Nothing is executed: the pickle may name tensors, storages, dtypes, devices and Python's own
/// containers, all else is an error that names it.
/// @throws CheckpointError for a file that is cut off or damaged, of another kind (legacy, compressed,
///         TorchScript, big-endian), or holds what a StateValue cannot (quantised or sparse tensors,
///         subclasses, other objects)
StateValue read_python_file(std::shared_ptr<const InputFile> file);

/// The same of a zip that lies in a larger file.
StateValue read_python_file(std::shared_ptr<const InputFile> file, std::int64_t begin,
                            std::int64_t size);

}  // namespace fabric::detail
