// safetensors: a header in JSON and the tensors' elements, row by row. One file, or several with
// Hugging Face's index.
//
// The format holds named tensors only. Everything else of a state stands as JSON in the file's
// metadata, and so do tensors that share their elements and checksums of each MiB; other readers
// ignore those.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include <fabric/checkpoint/io/file.h>
#include <fabric/checkpoint/state_value.h>

namespace fabric::detail {

/// Writes `state`, complete or not at all. The names of tensors are their keys joined by dots; a
/// state that is one dictionary of tensors (a model's) has its keys as they are. With `file_bytes`
/// the tensors are dealt over files of at most so many bytes each (a larger tensor has one alone),
/// named `model-00001-of-00003.safetensors` after `path`, with the index beside them.
/// Collective where tensors are cut over ranks; `writes` says which rank writes.
/// @throws CheckpointError for names that come twice, for dtypes the format has no name for, for
///         errors of the disk
void write_safetensors(const std::filesystem::path& path, const StateValue& state,
                       std::int64_t file_bytes, bool writes);

/// Whether a file has safetensors' header.
bool is_safetensors(const InputFile& file);

/// Reads a file of anybody's: of ours the whole state with its structure, else a dictionary of
/// tensors by name. Tensors stay in the file until they are asked for. Of ours checksums are checked
/// as tensors are read; the format itself has none, so that of others' files only the structure is.
/// @throws CheckpointError for a damaged header: lengths, dtypes, shapes, ranges that overlap, leave
///         gaps or reach behind the file
StateValue read_safetensors(std::shared_ptr<const InputFile> file);

/// Reads the files that an index (`….safetensors.index.json`) names.
StateValue read_safetensors_index(const std::filesystem::path& index);

}  // namespace fabric::detail
