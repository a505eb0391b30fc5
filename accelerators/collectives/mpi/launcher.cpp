#include <accelerators/collectives/mpi/launcher.h>

#include <cstdlib>

namespace fabric::mpi::detail {
namespace {

std::optional<long> number(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr || *text == '\0') {
    return std::nullopt;
  }
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  return *end == '\0' ? std::optional(value) : std::nullopt;
}

}  // namespace

std::optional<AnnouncedWorld> announced_world() {
  for (const char* variable : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}) {
    if (auto size = number(variable)) {
      return AnnouncedWorld{variable, static_cast<int>(*size)};
    }
  }
  // A batch script carries SLURM_NTASKS too, but is no job step: srun's steps count up from 0, and
  // the special ones (batch, interactive, extern) have identifiers just below 2^32.
  const auto step = number("SLURM_STEP_ID");
  if (number("SLURM_PROCID") && step && *step >= 0 && *step < 0xfffffff0l) {
    for (const char* variable : {"SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"}) {
      if (auto size = number(variable)) {
        return AnnouncedWorld{variable, static_cast<int>(*size)};
      }
    }
  }
  return std::nullopt;
}

}  // namespace fabric::mpi::detail
