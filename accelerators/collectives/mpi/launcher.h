// What the launcher's environment variables say about the job.
#pragma once

#include <optional>
#include <string>

namespace fabric::mpi::detail {

/// A world size announced by a launcher: by which variable, and how many processes.
struct AnnouncedWorld {
  std::string variable;
  int size = 1;
};

/// Reads Open MPI's, PMI's and Slurm's variables; the first that is set decides.
std::optional<AnnouncedWorld> announced_world();

}  // namespace fabric::mpi::detail
