#include <accelerators/collectives/mpi/control.h>

#include <mutex>

#include <accelerators/collectives/mpi/job.h>
#include <accelerators/collectives/mpi/mpi_error.h>
#include <accelerators/collectives/mpi/pool.h>

namespace fabric::mpi {
namespace {

// One agreement at a time. Held inside MPI on purpose: only agreements take it, and those must come
// in the same order on every rank anyway.
std::mutex& turn() {
  static std::mutex& mutex = *new std::mutex;
  return mutex;
}

}  // namespace

void control_broadcast(void* bytes, std::size_t size, int source) {
  const detail::Job& job = detail::job();
  if (!job.joined || world().size == 1) {
    return;
  }
  std::lock_guard lock(turn());
  detail::Activity activity(detail::control_ledger(), "an agreement on an address");
  detail::check(MPI_Bcast(bytes, static_cast<int>(size), MPI_BYTE, source, job.control),
                "MPI_Bcast");
}

void control_and(std::vector<std::uint64_t>& words, const char* what) {
  const detail::Job& job = detail::job();
  if (!job.joined || world().size == 1) {
    return;
  }
  std::lock_guard lock(turn());
  detail::Activity activity(detail::control_ledger(), what);
  detail::check(MPI_Allreduce(MPI_IN_PLACE, words.data(), static_cast<int>(words.size()),
                              MPI_UINT64_T, MPI_BAND, job.control),
                "MPI_Allreduce");
}

}  // namespace fabric::mpi
