// Checkpoints: the checkpoints of a run, one for each step that was saved, in one folder.
//
//     fabric::Checkpoints checkpoints(fabric, "run/checkpoints", {.last = 2, .best = 1});
//     if (auto latest = checkpoints.latest()) fabric.load(*latest, state);
//     for (; step < steps; ++step) {
//       …
//       if (step % 1000 == 0) checkpoints.save(step, state, {.metric = validation_loss});
//     }
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <accelerators/named_choice.h>
#include <fabric/checkpoint/checkpoint.h>

namespace fabric {

class Fabric;

struct MetricOrders {
  static constexpr std::string_view what = "order of metrics";
  static constexpr std::string_view names[] = {"min", "max"};
  static constexpr void check(bool known) {
    if (!known) {
      throw "order of metrics: expected \"min\" or \"max\"";
    }
  }
};

/// Which checkpoints stay. One that any rule keeps stays; the newest always does.
struct KeepOptions {
  std::int64_t last = 1;                    ///< that many of the newest; -1 for all
  std::int64_t every = 0;                   ///< those whose step is a multiple of it; 0 for none
  std::int64_t best = 0;                    ///< that many of those with the best metric
  NamedChoice<MetricOrders> order = "min";  ///< which metric is the best
  bool sharded = false;  ///< whether a checkpoint is a folder that all ranks write
};

/// What a save of one step may be told.
struct StepOptions {
  std::optional<double> metric = std::nullopt;  ///< for KeepOptions::best; NaN counts as the worst
  SaveOptions save = {};
};

/// A complete checkpoint in the folder.
struct CheckpointEntry {
  std::int64_t step = 0;
  std::optional<double> metric = std::nullopt;
  std::filesystem::path path;
};

/// All ranks make it alike. What is in the folder is what counts: a run that was killed, or another
/// program, finds the same.
class Checkpoints {
 public:
  /// @param folder is made by the first save; what is above it must exist
  /// @param fabric must outlive this
  /// @throws MisconfigurationError for options that keep nothing that could be asked for
  Checkpoints(Fabric& fabric, std::filesystem::path folder, KeepOptions options = {});

  /// Saves the state as that of a step (`step-00001000.pt`, or a folder `step-00001000`) and
  /// removes what is not kept any more, once the new one is complete. Collective.
  /// @returns its path
  /// @throws CheckpointError as Fabric::save
  std::filesystem::path save(std::int64_t step, const State& state,
                             const StepOptions& options = {});

  /// The newest complete checkpoint, the same on all ranks: rank 0 looks. Collective.
  std::optional<std::filesystem::path> latest();
  /// The one with the best metric of those that have one. Collective.
  std::optional<std::filesystem::path> best();
  /// All complete ones, by step. Collective.
  std::vector<CheckpointEntry> list();

 private:
  std::vector<CheckpointEntry> find() const;
  std::vector<CheckpointEntry> kept(const std::vector<CheckpointEntry>& all) const;
  bool better(double a, double b) const;

  Fabric& fabric_;
  std::filesystem::path folder_;
  KeepOptions options_;
};

}  // namespace fabric
