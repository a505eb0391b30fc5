// A fixture that fails a test case which leaves something behind in the process: environment
// variables, threads, open files, communicators, autocast, the default dtype.
#pragma once

#include <doctest/doctest.h>

#include <filesystem>
#include <set>
#include <string>
#include <thread>

#include <unistd.h>

#include <ATen/autocast_mode.h>
#include <c10/core/DefaultDtype.h>

#include <accelerators/collectives/mpi/mpi.h>

extern char** environ;

namespace support {

/// What a test case could leave behind.
struct ProcessState {
  std::set<std::string> environment;
  std::set<std::string> files;  // what the descriptors point to
  std::size_t threads = 0;
  int communicators = 0;
  bool autocast = false;
  std::string default_dtype;

  static ProcessState now() {
    ProcessState state;
    for (char** variable = environ; *variable != nullptr; ++variable) {
      state.environment.insert(*variable);
    }
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code gone;  // the iterator's own descriptor
      const auto target = std::filesystem::read_symlink(entry.path(), gone);
      if (!gone && target.string().rfind("/proc/", 0) != 0) {
        state.files.insert(entry.path().filename().string() + " -> " + target.string());
      }
    }
    for ([[maybe_unused]] const auto& entry :
         std::filesystem::directory_iterator("/proc/self/task")) {
      ++state.threads;
    }
    state.communicators = fabric::mpi::communicators_made();
    state.autocast = at::autocast::is_autocast_enabled(at::kCPU);
    state.default_dtype = c10::toString(c10::typeMetaToScalarType(c10::get_default_dtype()));
    return state;
  }
};

/// `TEST_CASE_FIXTURE(support::LeaksNothing, "…")`. Run what starts threads for good (MPI, the
/// autograd engine) once before, with `warm_up`.
class LeaksNothing {
 public:
  LeaksNothing() { before_ = ProcessState::now(); }
  ~LeaksNothing() {
    // Threads that were joined may take a moment to leave the table of the kernel.
    ProcessState after = ProcessState::now();
    for (int i = 0; i < 50 && after.threads > before_.threads; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      after = ProcessState::now();
    }
    CHECK(after.environment == before_.environment);
    CHECK(after.files == before_.files);
    CHECK(after.threads <= before_.threads);
    CHECK(after.communicators <= before_.communicators + allowed_communicators);
    CHECK(after.autocast == before_.autocast);
    CHECK(after.default_dtype == before_.default_dtype);
  }

 protected:
  int allowed_communicators = 0;

 private:
  ProcessState before_;
};

}  // namespace support
