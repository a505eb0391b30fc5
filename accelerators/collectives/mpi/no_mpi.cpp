// What a build without MPI has in place of this folder: a world of one.
#include <accelerators/collectives/mpi/mpi.h>

#include <cstdlib>
#include <iostream>

#include <torch/csrc/distributed/c10d/Backend.hpp>

#include <accelerators/collectives/mpi/control.h>
#include <accelerators/error.h>

namespace fabric::mpi {
namespace {

[[noreturn]] void no_mpi(const char* where) {
  throw MisconfigurationError(fabric::detail::str(
      "[", where,
      "] this build has no MPI, so a job has one process. Hint: install Open MPI "
      "(Debian: libopenmpi-dev openmpi-bin) and build with -DFABRIC_WITH_MPI=ON"));
}

}  // namespace

bool compiled() {
  return false;
}
std::string library() {
  return "none";
}
bool several_threads() {
  return false;
}

bool joined() {
  return false;
}
bool launcher_present() {
  return false;
}
bool runs_inline(const c10d::Backend&) {
  return true;
}
int communicators_made() {
  return 0;
}

const World& join() {
  no_mpi("fabric.launch");
}
const World& join(const ForeignCommunicator&) {
  no_mpi("fabric.launch");
}
c10::intrusive_ptr<c10d::Backend> make_backend(const std::string&, const std::vector<int>&) {
  no_mpi("fabric.communicator");
}
void count_device_collective(c10d::Backend&) {}
void announce_departure(const std::string&) {}
void control_broadcast(void*, std::size_t, int) {}
void control_and(std::vector<std::uint64_t>&, const char*) {}

void abort_job(const std::string& text, int exit_code) {
  std::cerr << "[fabric] " << text << std::endl;
  std::_Exit(exit_code);
}

}  // namespace fabric::mpi
