// PyTorch's distributed checkpoints (torch.distributed.checkpoint): a folder with `.metadata` and the
// files of all ranks. Read only; the way to Python is one file.
#pragma once

#include <filesystem>

#include <fabric/checkpoint/state_value.h>

namespace fabric::detail {

/// Whether a folder has DCP's `.metadata`.
bool is_dcp(const std::filesystem::path& folder);

/// The state as it was given to `dcp.save`, nested again where it had been flattened. A tensor that
/// is cut into chunks is put together from the bytes of them that are asked for.
/// @throws CheckpointError for a missing or damaged file, chunks that leave gaps or overlap, and
///         what a StateValue cannot hold
StateValue read_dcp(const std::filesystem::path& folder);

}  // namespace fabric::detail
