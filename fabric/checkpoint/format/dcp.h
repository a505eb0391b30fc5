// PyTorch's distributed checkpoints (torch.distributed.checkpoint): a folder with `.metadata` and
// the files of all ranks. Read only; the way to Python is one file.
#pragma once

#include <filesystem>

#include <fabric/checkpoint/state_value.h>

namespace fabric::detail {

/// Whether a folder has DCP's `.metadata`.
bool is_dcp(const std::filesystem::path& folder);

/// The state as it was given to `dcp.save`, nested again where it had been flattened: keys of
/// dictionaries are texts and tuples lists, as flattening makes them. A tensor that is cut into
/// chunks is put together from what is asked for of them; what covers a whole chunk is checked
/// against its checksum. Other values are read here.
/// @param memory_map as for InputFile: a tensor of a single chunk is lent then
/// @throws CheckpointError for a missing or damaged file, chunks that leave gaps or overlap, what
///         an extension has compressed, and what a StateValue cannot hold
StateValue read_dcp(const std::filesystem::path& folder, bool memory_map = false);

}  // namespace fabric::detail
