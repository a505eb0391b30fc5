// Becoming many processes: whether a launcher started this one, and starting one ourselves.
#pragma once

#include <string>

#include <fabric/connector.h>
#include <fabric/environment.h>

namespace fabric {

/// Whether mpirun, srun or a relative started this process.
bool started_by_launcher(const Environment& environment);

/// Replaces this process by `mpirun -np <plan.world_size>` of the same program with the same
/// arguments. Call it before threads, devices or MPI are in use: nothing of the process remains.
///
/// Adds `--bind-to none` (threads of a process share its cores) and, for more processes than
/// cores, `--oversubscribe`. Sets OMP_NUM_THREADS to the cores a process has where it is unset, and
/// lets root start mpirun. mpirun is looked up on PATH; FABRIC_MPIRUN names another one. What is
/// executed is written to stderr in one line.
///
/// Throws MisconfigurationError if mpirun is not found or cannot be executed, and if this process
/// was started by relaunch() already and did not notice (a loop otherwise).
/// @param argc, argv the arguments of main; without them those the system remembers are taken
/// @param quiet writes nothing
[[noreturn]] void relaunch(const Plan& plan, int argc = 0, const char* const* argv = nullptr,
                           bool quiet = false);

namespace detail {

/// Physical cores that this process may run on; at least 1. Open MPI counts its slots in them.
int usable_cores();

/// The path of mpirun: FABRIC_MPIRUN (a path, or a name on PATH) or "mpirun" on PATH.
/// Throws MisconfigurationError if there is none.
std::string find_mpirun();

}  // namespace detail
}  // namespace fabric
