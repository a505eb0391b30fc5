#include <fabric/environment.h>

#include <algorithm>
#include <cstdlib>

#include <accelerators/error.h>
#include <accelerators/text.h>
#include <fabric/config/nearest_name.h>

namespace fabric {
namespace {

std::optional<std::string> value_of(const Environment::Lookup& lookup, const std::string& name) {
  std::optional<std::string> value = lookup(name);
  return value.has_value() && !value->empty() ? value : std::nullopt;
}

std::optional<int> number_of(const Environment::Lookup& lookup, const std::string& name) {
  const std::optional<std::string> text = value_of(lookup, name);
  if (!text) {
    return std::nullopt;
  }
  const std::optional<int> number = detail::parse_int(detail::trim(*text));
  FABRIC_CHECK(Misconfiguration, number.has_value() && *number >= 0,
               "[fabric.environment] a launcher's variable is not a number; got ", name, "='",
               *text, "'. Hint: launchers set it; unset it if this program was started by hand.");
  return number;
}

std::optional<Launcher> find_launcher(const Environment::Lookup& lookup) {
  const auto number = [&](const char* name) { return number_of(lookup, name); };
  if (const auto size = number("OMPI_COMM_WORLD_SIZE"), rank = number("OMPI_COMM_WORLD_RANK");
      size && rank) {
    return Launcher{"mpirun", size, *rank, number("OMPI_COMM_WORLD_LOCAL_RANK"),
                    number("OMPI_COMM_WORLD_LOCAL_SIZE")};
  }
  if (const auto size = number("PMI_SIZE"), rank = number("PMI_RANK"); size && rank) {
    return Launcher{"a PMI launcher", size, *rank, std::nullopt, std::nullopt};
  }
  if (const auto rank = number("SLURM_PROCID"), size = number("SLURM_NTASKS");
      size && rank && value_of(lookup, "SLURM_STEP_ID")) {
    const auto step_size = number("SLURM_STEP_NUM_TASKS");  // a step may take fewer than the job
    return Launcher{"srun", step_size ? step_size : size, *rank, number("SLURM_LOCALID"),
                    std::nullopt};
  }
  if (const auto rank = number("PMIX_RANK")) {
    return Launcher{"a PMI launcher", std::nullopt, *rank, std::nullopt, std::nullopt};
  }
  return std::nullopt;
}

}  // namespace

Environment Environment::read() {
  return read([](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    return value != nullptr ? std::optional<std::string>(value) : std::nullopt;
  });
}

Environment Environment::read(const Lookup& lookup) {
  Environment found;
  found.accelerator = value_of(lookup, "FABRIC_ACCELERATOR");
  found.strategy = value_of(lookup, "FABRIC_STRATEGY");
  found.devices = value_of(lookup, "FABRIC_DEVICES");
  found.num_nodes = value_of(lookup, "FABRIC_NUM_NODES");
  found.precision = value_of(lookup, "FABRIC_PRECISION");
  found.unrouted = value_of(lookup, "FABRIC_UNROUTED");
  found.matmul_precision = value_of(lookup, "FABRIC_MATMUL_PRECISION");
  found.launcher = find_launcher(lookup);
  return found;
}

std::vector<std::string> mistyped_variables(const std::vector<std::string>& names) {
  constexpr std::string_view kPrefix = "FABRIC_";
  static const std::vector<std::string> known{
      "ACCELERATOR",  "DEVICES",  "GLOBAL_SEED", "LOG",       "MATMUL_PRECISION",
      "MPI_PROGRESS", "MPIRUN",   "NUM_NODES",   "PRECISION", "RELAUNCHED",
      "SIMULATE",     "STRATEGY", "TIMEOUT",     "UNROUTED"};
  std::vector<std::string> lines;
  for (const std::string& name : names) {
    const std::string_view own =
        std::string_view(name).substr(std::min(kPrefix.size(), name.size()));
    if (!name.starts_with(kPrefix) || std::find(known.begin(), known.end(), own) != known.end()) {
      continue;
    }
    if (const std::string meant = config::detail::nearest_name(own, known); !meant.empty()) {
      lines.push_back(detail::str(name, " is read by nobody. Did you mean ", kPrefix, meant, "?"));
    }
  }
  return lines;
}

void validate(const Environment& environment, const World& joined) {
  if (!environment.launcher || !environment.launcher->size) {
    return;
  }
  const Launcher& launcher = *environment.launcher;
  FABRIC_CHECK(Misconfiguration, *launcher.size == joined.size, "[fabric.launch] the variables of ",
               launcher.name, " announce ", *launcher.size, " processes, but MPI sees ",
               joined.size,
               ": the launcher and this program speak different dialects. Hint: under Slurm start ",
               "it with `srun --mpi=pmix`; elsewhere use the mpirun of the MPI it was built with.");
}

}  // namespace fabric
