// What is known of this machine and this build before a plan is made.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <accelerators/accelerator_choice.h>
#include <accelerators/collectives/world.h>
#include <accelerators/devices.h>

namespace fabric {

/// What resolve() needs to know of this machine and this build.
struct Machine {
  int cuda_devices = 0;  ///< CUDA devices this process can see
  bool cuda_compiled = false;
  bool mpi_compiled = true;
  /// The world this process has joined; nothing before that.
  std::optional<World> joined{};
  /// Registered accelerators besides "cpu" and "cuda".
  std::vector<AcceleratorFacts> accelerators{};
  /// Names of registered strategies besides "single_device", "ddp" and "fsdp".
  std::vector<std::string> strategies{};

  /// Asks the accelerators, MPI and the registries of this process; makes no context on a device.
  static Machine read();
};

/// The accelerator that is meant, as far as `machine` has it; "auto" is decided and said.
/// Throws MisconfigurationError for an unknown name and DeviceError for one without a device.
/// @param source where the choice comes from ("FABRIC_ACCELERATOR"), for error texts
AcceleratorFacts choose_accelerator(const AcceleratorChoice& choice, const Machine& machine,
                                    std::string_view source, std::vector<std::string>& decisions);

}  // namespace fabric
