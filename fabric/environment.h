// What the environment variables of this process say: options, and the launcher that started it.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <accelerators/collectives/world.h>

namespace fabric {

/// A launcher that started this process together with others, as far as its variables tell.
struct Launcher {
  std::string name{};         ///< "mpirun", "srun" or "a PMI launcher"
  std::optional<int> size{};  ///< processes it announces; nothing where it does not say
  int rank = 0;
  std::optional<int> local_rank{};
  std::optional<int> local_size{};

  friend bool operator==(const Launcher&, const Launcher&) = default;
};

/// The variables that matter to Fabric. Unset and empty ones are the same.
///
/// Options: FABRIC_ACCELERATOR, FABRIC_STRATEGY, FABRIC_DEVICES, FABRIC_NUM_NODES,
/// FABRIC_PRECISION, FABRIC_UNROUTED and FABRIC_MATMUL_PRECISION override what the program asks
/// for, so that `FABRIC_DEVICES=1 ./program` works without a rebuild.
///
/// Launchers, in the order they are looked for: Open MPI's mpirun (OMPI_COMM_WORLD_SIZE, _RANK,
/// _LOCAL_RANK, _LOCAL_SIZE), other PMI launchers (PMI_SIZE, PMI_RANK), a Slurm step (SLURM_STEP_ID
/// with SLURM_PROCID and SLURM_NTASKS; a batch script has no step of srun and is a plain start),
/// PMIx (PMIX_RANK).
struct Environment {
  std::optional<std::string> accelerator{};
  std::optional<std::string> strategy{};
  std::optional<std::string> devices{};
  std::optional<std::string> num_nodes{};
  std::optional<std::string> precision{};
  std::optional<std::string> unrouted{};
  std::optional<std::string> matmul_precision{};
  std::optional<Launcher> launcher{};

  /// Looks a variable up by name; nothing if it is not set.
  using Lookup = std::function<std::optional<std::string>(const std::string& name)>;

  /// Reads the variables of this process.
  /// Throws MisconfigurationError if a launcher's variable is not a number.
  static Environment read();
  /// The same from any source.
  static Environment read(const Lookup& lookup);
};

/// What is probably a mistake among names of variables: those that begin with FABRIC_, are none of
/// its own, and look like one. Each as a line: "FABRIC_DEVICE is read by nobody. Did you mean …?"
std::vector<std::string> mistyped_variables(const std::vector<std::string>& names);

/// Throws MisconfigurationError if a launcher announces more processes than MPI found: each of them
/// would train on its own, and nobody would notice. Call it after joining the job; with a
/// communicator of the program's own, its size is the program's business: do not call it.
void validate(const Environment& environment, const World& joined);

}  // namespace fabric
