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
/// state that is one dictionary of tensors (a model's) has its keys as they are. Tensors that are
/// the same elements in the same shape are written once, under the first name; the metadata have an
/// entry `"second name": "first name"`. Others that overlap are written twice.
/// With `file_bytes` (more than 0) the tensors are dealt over files with at most so many bytes of
/// elements each (a larger tensor has one alone), named `model-00001-of-00003.safetensors` after
/// `path`, with the index beside them; the files of an earlier checkpoint of `path` are removed
/// when the new one is complete. All in one file is one file, without an index. Collective where
/// tensors are cut over ranks; `writes` says which rank writes.
/// @throws CheckpointError for names that come twice, for dtypes the format has no name for, for
///         errors of the disk
void write_safetensors(const std::filesystem::path& path, const StateValue& state,
                       std::int64_t file_bytes, bool writes,
                       const BeforeCommit& before_commit = {});

/// Whether a file has safetensors' header.
bool is_safetensors(const InputFile& file);

/// Reads a file of anybody's: of ours the whole state with its structure, else a dictionary of
/// tensors by name, in the order of their elements, with entries for names that the metadata give
/// to other tensors (as the format's own library writes for tied weights). Tensors stay in the file
/// until they are asked for. Of ours checksums are checked as tensors are read; the format itself
/// has none, so that of others' files only the structure is. Nothing is checked where a tensor is
/// lent from a file that is mapped (StoredTensor::tensor).
/// @throws CheckpointError for a damaged header: lengths, keys that come twice, metadata that are
///         no texts, dtypes, shapes, ranges that overlap, leave gaps or do not end where the file
///         does
StateValue read_safetensors(std::shared_ptr<const InputFile> file);

/// Reads the files that an index (`….safetensors.index.json`) names, which lie beside it.
/// @param memory_map as for InputFile
/// @throws CheckpointError as above, for a name that its file has not, and for files of ours that
///         belong to another checkpoint than the index
StateValue read_safetensors_index(const std::filesystem::path& index, bool memory_map = false);

}  // namespace fabric::detail
