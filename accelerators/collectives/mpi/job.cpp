// Joining a job: initialising MPI, finding the world, arranging for an orderly end.
#include <accelerators/collectives/mpi/job.h>

#include <mutex>

#include <unistd.h>

#include <accelerators/collectives/mpi/launcher.h>
#include <accelerators/collectives/mpi/leave.h>
#include <accelerators/collectives/mpi/mpi.h>
#include <accelerators/collectives/mpi/mpi_error.h>
#include <accelerators/collectives/mpi/place.h>
#include <accelerators/collectives/mpi/pool.h>
#include <accelerators/error.h>

namespace fabric::mpi {
namespace detail {

Job& job() {
  static Job& instance = *new Job;
  return instance;
}

Job& joined_job(const char* where) {
  FABRIC_CHECK(NotLaunched, job().joined, "[", where,
               "] this process has joined no job; expected fabric::mpi::join() (or "
               "Fabric::launch()) before it");
  FABRIC_CHECK(NotLaunched, !job().finalized.load(std::memory_order_relaxed), "[", where,
               "] called after MPI was finalised, while the process exits");
  return job();
}

namespace {

MPI_Comm duplicate(MPI_Comm comm) {
  MPI_Comm copy = MPI_COMM_NULL;
  check(MPI_Comm_dup(comm, &copy), "MPI_Comm_dup");
  check(MPI_Comm_set_errhandler(copy, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  return copy;
}

void enter(MPI_Comm comm, bool owned) {
  Job& here = job();
  here.owned = owned;
  here.pid = getpid();
  check(MPI_Query_thread(&here.thread_level), "MPI_Query_thread");
  here.world = duplicate(comm);
  here.control = duplicate(here.world);
  here.leaving = duplicate(here.world);
  fabric::detail::set_world(find_place(here.world, here.usable_cores));
  here.joined = true;
  if (owned) {
    install_exit_handlers();
  }
}

std::mutex& joining() {
  static std::mutex mutex;
  return mutex;
}

bool initialized() {
  int flag = 0;
  check(MPI_Initialized(&flag), "MPI_Initialized");
  return flag != 0;
}

bool finalized() {
  int flag = 0;
  check(MPI_Finalized(&flag), "MPI_Finalized");
  return flag != 0;
}

}  // namespace
}  // namespace detail

bool compiled() {
  return true;
}

bool several_threads() {
  return detail::threads_allowed();
}

bool joined() {
  return detail::job().joined;
}

bool launcher_present() {
  return detail::announced_world().has_value();
}

std::string library() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int length = 0;
  MPI_Get_library_version(text, &length);
  // "Open MPI v4.1.4, package: Debian OpenMPI, ident: ..."
  std::string version(text, length);
  version = version.substr(0, version.find_first_of(",\n"));
  if (auto at = version.find(" v"); at != std::string::npos) {
    version.erase(at + 1, 1);
  }
  return version;
}

const World& join() {
  std::lock_guard lock(detail::joining());
  if (joined()) {
    return world();
  }
  FABRIC_CHECK(Misconfiguration, !detail::finalized(),
               "[fabric.launch] MPI has been finalised already; a process can join only one job. "
               "Hint: keep MPI_Finalize for the end of the program");
  if (detail::initialized()) {
    detail::enter(MPI_COMM_WORLD, /*owned=*/false);
    return world();
  }
  int provided = MPI_THREAD_SINGLE;
  detail::check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided),
                "MPI_Init_thread");
  detail::enter(MPI_COMM_WORLD, /*owned=*/true);
  const auto announced = detail::announced_world();
  FABRIC_CHECK(Misconfiguration, world().size > 1 || !announced || announced->size <= 1,
               "[fabric.launch] the launcher started several processes, but MPI sees a world of "
               "one; got ",
               announced->variable, "=", announced->size, " and MPI_Comm_size 1 from ", library(),
               "; expected the same number twice. Hint: start with the mpirun of that "
               "MPI, or with `srun --mpi=pmix`");
  return world();
}

const World& join(const ForeignCommunicator& communicator) {
  std::lock_guard lock(detail::joining());
  if (joined()) {
    return world();
  }
  FABRIC_CHECK(Misconfiguration, detail::initialized() && !detail::finalized(),
               "[fabric.launch] got a communicator while MPI is not initialised; expected the "
               "program to have called MPI_Init_thread. Hint: call launch() without a communicator "
               "and MPI is initialised for you");
  MPI_Comm comm = MPI_COMM_NULL;
  static_assert(sizeof(comm) <= 8);
  std::memcpy(&comm, communicator.bytes(), sizeof(comm));
  FABRIC_CHECK(
      Misconfiguration, comm != MPI_COMM_NULL,
      "[fabric.launch] got MPI_COMM_NULL; expected a communicator this process belongs to");
  detail::enter(comm, /*owned=*/false);
  return world();
}

int communicators_made() {
  return detail::slots_made();
}

}  // namespace fabric::mpi
