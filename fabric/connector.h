// From options, environment and machine to a plan: which process runs what, and where.
#pragma once

#include <string>
#include <vector>

#include <c10/core/Device.h>

#include <fabric/environment.h>
#include <fabric/machine.h>
#include <fabric/options.h>

namespace fabric {

/// What will run. Equal on all ranks but for `device`.
struct Plan {
  std::string accelerator;  ///< "cpu", "cuda" or a registered name; never "auto"
  StrategyChoice strategy;  ///< never "auto"; with its options
  PrecisionChoice precision;
  UnroutedChoice unrouted;
  MatmulPrecisionChoice matmul_precision;
  std::vector<int> device_ids;  ///< of each node, one for each of its processes
  int processes_per_node = 1;   ///< processes on this node, where nodes differ
  int num_nodes = 1;
  int world_size = 1;
  /// This program has to be started again under mpirun to become `world_size` processes.
  bool relaunch = false;
  /// A launcher started this process beside others and it has not joined them yet, so only what
  /// does not depend on the world was compared; make the final plan after joining.
  bool preliminary = false;
  /// The device of this process. While `relaunch` is set: of the first one.
  c10::Device device{c10::DeviceType::CPU};
  /// What was decided for the user, one line each, to be said once.
  std::vector<std::string> decisions;
};

/// Makes the plan. Touches no device and no network: the same arguments give the same plan.
///
/// - FABRIC_... variables override options; what they override is said. Options that a parser has
///   filled (`resolved`) have them already.
/// - Started by a launcher, or with a joined world: that world counts. Before it is joined the
///   launcher's variables stand in for it, and the plan is preliminary. `devices` and `num_nodes`
///   may be left open; a count that disagrees is an error that names both cures. Process i of a
///   node takes the i-th device.
/// - Started plainly: one process for each device; for more than one, `relaunch` is set.
/// - `strategy = "auto"` is ddp for more than one process, else single_device.
///
/// Throws MisconfigurationError or DeviceError; each text says what to do.
Plan resolve(const FabricOptions& options, const Environment& environment, const Machine& machine);

}  // namespace fabric
