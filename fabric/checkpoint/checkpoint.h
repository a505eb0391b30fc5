// Saving and loading states: one call each.
//
//     fabric.save("checkpoint.pt", {{"model", model}, {"optimizer", optimizer}, {"epoch", epoch}});
//     fabric.load("checkpoint.pt", {{"model", model}, {"optimizer", optimizer}, {"epoch", epoch}});
//
// Fabric's methods are these functions for a job of several processes. Files are those of Python's
// torch.save, or safetensors, in both directions; folders of torch.distributed.checkpoint are read.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fabric/checkpoint/options.h>
#include <fabric/checkpoint/state.h>
#include <fabric/checkpoint/state_value.h>

namespace fabric {

namespace detail {
void save_node(const StateJob& job, const std::filesystem::path& path, const StateNode& node,
               const SaveOptions& options);
StateValue load_node(const StateJob& job, const std::filesystem::path& path, StateNode& node,
                     const LoadOptions& options);
}  // namespace detail

/// Writes a state to a file: complete, durable and under its name when this returns, or as if it
/// had not been called. Tensors are written from where they lie.
///
/// `state` is a State, or anything that may be part of one: `fabric::save("net.safetensors", net)`
/// writes a file of the model's tensors alone. This process writes what it has; models that are cut
/// over ranks are saved by Fabric::save.
/// @throws CheckpointError for what a file cannot hold, and for errors of the disk
void save(const std::filesystem::path& path, const State& state, const SaveOptions& options = {});
template <class T>
void save(const std::filesystem::path& path, T&& state, const SaveOptions& options = {}) {
  detail::save_node({}, path, *detail::make_node(std::forward<T>(state)), options);
}

/// Loads a file, or a folder of torch.distributed.checkpoint, into what a state refers to, in
/// place: parameters stay the tensors they are, in their dtypes and on their devices. Only the
/// bytes that this process needs are read, and checked on the way where the file has checksums.
///
/// Everything is compared before anything is changed. Returns what the file has and the state does
/// not ask for; its tensors are read when they are used.
/// @throws CheckpointError naming all that is missing, unknown or does not fit (nothing is changed
///         then), and for a damaged file (tensors may have been overwritten then)
StateValue load(const std::filesystem::path& path, const State& state,
                const LoadOptions& options = {});
template <class T>
StateValue load(const std::filesystem::path& path, T&& state, const LoadOptions& options = {}) {
  return detail::load_node({}, path, *detail::make_node(std::forward<T>(state)), options);
}

/// All of a file, without a program that knows it. Tensors are read when they are used.
///
///     auto options = fabric::load("checkpoint.pt")["options"].as<Net::Options>();
StateValue load(const std::filesystem::path& path);

struct ConsolidateOptions {
  /// The parts of the state that are taken ("model", "options"); all where it is empty.
  std::vector<std::string> keys{};
  SaveOptions save{};
};

/// Makes one file of a checkpoint of any kind, on this process: a folder of all ranks' shards
/// becomes what Python opens. Nothing is held in memory but what is being copied;
/// `fabric-consolidate` on the command line is this function.
/// @throws CheckpointError for a key the checkpoint does not have, and as `load` and `save`
void consolidate(const std::filesystem::path& checkpoint, const std::filesystem::path& file,
                 const ConsolidateOptions& options = {});

/// Removes a file, or a sharded folder such that it is a whole checkpoint or none at any moment.
/// Does nothing where there is none. One process calls it.
void remove_checkpoint(const std::filesystem::path& path);

}  // namespace fabric
