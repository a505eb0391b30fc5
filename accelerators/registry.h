// Accelerators by name.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <accelerators/accelerator.h>

namespace fabric {

/// Returns the accelerator of this name: "cpu", "cuda", "gpu" (cuda), "auto" (cuda where a device
/// is visible, else cpu), or a registered one. Upper and lower case are the same. Throws
/// MisconfigurationError for an unknown name, with the names there are, and DeviceError for one
/// that this process cannot use, with the usable ones.
Accelerator& get_accelerator(const std::string& name);

/// The same without asking whether it can be used.
Accelerator& find_accelerator(const std::string& name);

/// Adds an accelerator under its name(), until the process ends.
/// Throws MisconfigurationError if the name is taken or is "auto" or "gpu".
void register_accelerator(std::unique_ptr<Accelerator> accelerator);

/// The names there are, "cpu" and "cuda" first, then in the order of registration.
std::vector<std::string> accelerator_names();

/// Those of them that this process can use.
std::vector<std::string> usable_accelerator_names();

}  // namespace fabric
