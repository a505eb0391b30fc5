// The configuration of a run, beside what the run makes.
#pragma once

#include <filesystem>

#include <fabric/config/resolved.h>

namespace fabric::config {

/// Writes `<folder>/config.yaml`, on the first rank; a file that starts the same run again:
/// `./program --config <folder>/config.yaml`. Where there is one, the next is config-2.yaml: what
/// an earlier run wrote stays. Makes the folder.
/// @returns the file; on other ranks an empty path
/// @throws MisconfigurationError where it cannot be written, or `resolved` is of no parser
std::filesystem::path save(const Resolved& resolved, const std::filesystem::path& folder);

}  // namespace fabric::config
