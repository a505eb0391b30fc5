// Open MPI below the toolkit: joining a job, leaving it, and the c10d backend for CPU tensors.
//
// mpi.h stays out of this header. A build without MPI has the same functions (no_mpi.cpp):
// `compiled()` says false, and the others throw an error that says how to build with MPI.
#pragma once

#include <cstring>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include <c10/util/intrusive_ptr.h>

#include <accelerators/collectives/world.h>

namespace c10d {
class Backend;
}

namespace fabric::mpi {

/// Whether this build has MPI.
bool compiled();

/// "Open MPI 4.1.4" or "none".
std::string library();

/// An MPI_Comm of a program that owns MPI, carried without mpi.h.
class ForeignCommunicator {
 public:
  /// @param communicator an MPI_Comm (a pointer or an integer, whichever the library uses)
  template <class Comm>
    requires(std::is_pointer_v<Comm> || std::is_integral_v<Comm>)
  explicit ForeignCommunicator(Comm communicator) {
    static_assert(sizeof(Comm) <= sizeof(bytes_));
    std::memcpy(bytes_, &communicator, sizeof(Comm));
  }
  const void* bytes() const { return bytes_; }

 private:
  alignas(8) unsigned char bytes_[8] = {};
};

/// Joins the job this process was started in by mpirun or srun: initialises MPI with
/// MPI_THREAD_MULTIPLE where it grants it, finds the world by a shared-memory split, and arranges
/// for the job to end at once when this process leaves with an error (see leave.cpp). Called again,
/// it returns the same world.
const World& join();

/// Joins over a communicator of a program that has initialised MPI itself. It is duplicated and
/// never finalised by us, and no exit handlers are installed. Below MPI_THREAD_MULTIPLE collectives
/// run inline in the calling thread.
const World& join(const ForeignCommunicator& communicator);

/// Whether join() has been called in this process.
bool joined();

/// Whether threads beside the program may communicate, each through communicators of its own.
bool several_threads();

/// Whether this process was started by a launcher that sets Open MPI's, PMI's or Slurm's step
/// variables. Reads the environment only, so a program that runs alone need not touch MPI.
bool launcher_present();

/// Makes a backend on a communicator of its own out of a pool (communicators are handed back when
/// the backend is destroyed and reused by the next caller; ranks agree on which one). Collective.
/// The backend is a fabric::mpi::Backend (backend.h).
/// @param name what it is for, used in texts; the same on every rank
/// @param ranks of the world that communicate, ascending, this one included; the groups of all
///        ranks divide the world
/// @throws CommunicationError when the ranks ask for different names; NotLaunchedError before
/// join()
c10::intrusive_ptr<c10d::Backend> make_backend(const std::string& name,
                                               const std::vector<int>& ranks);

/// Whether large operations of a backend made by make_backend run in the thread that asks for them,
/// and not beside it.
bool runs_inline(const c10d::Backend& backend);

/// Counts a collective on the device backend that shares a group with `cpu_backend` (made by
/// make_backend), so that a rank that waits on its device for one that left is found out. Ignores
/// backends of others.
void count_device_collective(c10d::Backend& cpu_backend);

/// How many communicators the pool has made so far (for leak tests).
int communicators_made();

/// Tells the other ranks that this one left its Fabric by an exception, so that none waits for it
/// for ever. Not collective; does nothing in a world of one.
void announce_departure(const std::string& reason);

/// Prints `text` with rank and host, and ends the whole job with `exit_code` at once.
[[noreturn]] void abort_job(const std::string& text, int exit_code);

}  // namespace fabric::mpi
