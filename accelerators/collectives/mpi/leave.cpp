// Leaving a job: with an error it ends at once for everybody, without one when all have come.
//
// An exit status other than 0, std::terminate and abort_job() print their reason and call
// MPI_Abort: the other ranks would wait for this one for ever. A process that ends well announces
// it (late, to spare traffic when all end together), meets the others, and finalises MPI. The
// watchdog of a rank that waits in a collective for one that left ends the job too.
#include <accelerators/collectives/mpi/leave.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>

#include <c10/util/Exception.h>
#include <mpi.h>
#include <stdlib.h>
#include <unistd.h>

#include <accelerators/collectives/mpi/departure.h>
#include <accelerators/collectives/mpi/job.h>
#include <accelerators/collectives/mpi/mpi.h>
#include <accelerators/collectives/mpi/pool.h>
#include <accelerators/collectives/mpi/watchdog.h>
#include <accelerators/error.h>

namespace fabric::mpi {
namespace detail {
namespace {

using namespace std::chrono_literals;

// How long ranks that end together may differ before the early ones send notices.
constexpr auto kQuietWait = 500ms;

std::string text_of_current_exception() {
  try {
    throw;
  } catch (const c10::Error& error) {
    return error.what_without_backtrace();
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "an exception that is no std::exception";
  }
}

[[noreturn]] void on_terminate() {
  if (getpid() != job().pid || job().finalized) {
    std::abort();
  }
  if (std::current_exception() == nullptr) {
    abort_job("std::terminate was called", 1);
  }
  abort_job(fabric::detail::str("an exception ended the program: ", text_of_current_exception()),
            1);
}

bool idle() {
  for (const LedgerView& view : ledgers()) {
    if (view.ledger->finished.load() != view.ledger->submitted.load()) {
      return false;
    }
  }
  return true;
}

// Returns when every rank has come here. Sleeps: the others may still compute.
void meet_the_others() {
  while (!idle()) {
    std::this_thread::sleep_for(1ms);
  }
  MPI_Request all_here = MPI_REQUEST_NULL;
  if (MPI_Ibarrier(job().leaving, &all_here) != MPI_SUCCESS) {
    return;
  }
  const auto begin = std::chrono::steady_clock::now();
  bool announced = false;
  for (auto pause = 100us; true; pause = std::min<std::chrono::microseconds>(2 * pause, 10ms)) {
    int done = 0;
    if (MPI_Test(&all_here, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS || done != 0) {
      return;
    }
    if (!announced && std::chrono::steady_clock::now() - begin > kQuietWait) {
      announced = true;
      send_departure("it ended with exit status 0");
    }
    std::this_thread::sleep_for(pause);
  }
}

void on_exit_handler(int status, void*) {
  Job& here = job();
  int finalized = 0;
  if (getpid() != here.pid || here.finalized || MPI_Finalized(&finalized) != MPI_SUCCESS ||
      finalized != 0) {
    return;
  }
  if (world().size > 1) {
    if (status != 0) {
      const std::string reason = last_reason();
      abort_job(fabric::detail::str("the program left with exit status ", status,
                                    reason.empty() ? "" : " after: ", reason),
                status);
    }
    if (threads_allowed()) {
      meet_the_others();
      stop_watchdog();
    }
  }
  here.finalized = true;
  MPI_Finalize();
}

}  // namespace

void say(const std::string& text) {
  std::string line = "[fabric] ";
  if (world().size > 1 &&
      text.find(fabric::detail::str("(rank ", world().rank, " of ")) == std::string::npos) {
    line += fabric::detail::str("rank ", world().rank, " of ", world().size, " on host ",
                                world().host, ": ");
  }
  line += text + "\n";
  // One write, so that the lines of several ranks do not mix.
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
}

void install_exit_handlers() {
  ::on_exit(on_exit_handler, nullptr);
  if (world().size > 1) {
    std::set_terminate(on_terminate);
    if (threads_allowed()) {
      start_watchdog();
    }
  }
}

}  // namespace detail

void abort_job(const std::string& text, int exit_code) {
  static std::mutex once;  // never unlocked: whoever comes second waits for the end
  once.lock();
  const int status = (exit_code & 0xff) == 0 ? 1 : exit_code & 0xff;
  std::fflush(stdout);
  detail::say(text + "; ending the job");
  if (detail::job().joined && !detail::job().finalized && world().size > 1) {
    MPI_Abort(detail::job().world, status);
  }
  std::_Exit(status);
}

}  // namespace fabric::mpi
