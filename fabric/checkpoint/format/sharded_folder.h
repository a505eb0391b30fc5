// Checkpoints that all ranks of a job write together: a folder with a shard from each rank and one
// small manifest, whose renaming makes them a checkpoint.
//
//     manifest.pt                the state's structure, where each tensor's elements lie, and the
//                                names, lengths and checksums of the shards
//     shard-<id>-00000.pt        the elements that rank 0 had, and so on
//
// All are files of Python's form. Shards carry the id of their save in their names: those of the
// checkpoint before stay until the new manifest has its name, so that at every moment the folder is
// one checkpoint or the other.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <fabric/checkpoint/io/file.h>
#include <fabric/checkpoint/state_value.h>

namespace fabric::detail {

struct StateJob;

struct ShardReport;
struct ShardedManifest;

/// One save to a folder, which is made. Of tensors that are cut over ranks each rank writes what
/// it has, of those that all ranks have alike each an equal part, and rank 0 all else.
class ShardedSave {
 public:
  /// Decides who writes what; writes nothing.
  ShardedSave(const StateJob& job, std::filesystem::path folder, const StateValue& state);

  /// What this rank will write: flat tensors by name. A snapshot may take their place.
  StateValue& parts();

  /// Writes. Collective; throws on all ranks or on none.
  /// @param before_commit comes on every rank when its shard is written, and may still throw
  /// @throws CheckpointError for errors of the disk on any rank (the folder then holds the
  ///         checkpoint from before), for a folder that not all ranks see, and where another job
  ///         writes there
  void run(const StateJob& job, const BeforeCommit& before_commit = {});

 private:
  struct Plan;
  ShardedManifest manifest_of(const std::string& id, const std::vector<ShardReport>& reports) const;

  std::filesystem::path folder_;
  std::shared_ptr<Plan> plan_;
};

/// Whether a folder has the manifest.
bool is_sharded_folder(const std::filesystem::path& folder);

/// Removes the checkpoint and its folder, the manifest first: it is whole or none at any moment.
void remove_sharded_folder(const std::filesystem::path& folder);

/// Reads a folder that any number of ranks wrote. Shards are opened when an element of them is
/// asked for.
/// @throws CheckpointError for a damaged manifest, an unknown version, and (now or when it is
///         opened) for a shard that is missing, damaged or of another save
StateValue read_sharded_folder(const std::filesystem::path& folder, bool memory_map);

}  // namespace fabric::detail
