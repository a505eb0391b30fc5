#include <accelerators/collectives/mpi/watchdog.h>

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include <accelerators/collectives/mpi/departure.h>
#include <accelerators/collectives/mpi/mpi.h>
#include <accelerators/collectives/mpi/pool.h>
#include <accelerators/collectives/world.h>
#include <accelerators/error.h>

namespace fabric::mpi::detail {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto kPeriod = 100ms;
// A rank that leaves with an error ends the job itself, with a better text: let it.
constexpr auto kGrace = 3s;

class Watchdog {
 public:
  void start() {
    thread_ = std::thread([this] { run(); });
  }

  void stop() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    if (thread_.joinable()) {
      thread_.join();
    }
  }

 private:
  struct Gone {
    Departure notice;
    Clock::time_point when;
  };
  struct Seen {
    std::uint64_t number = 0;
    Clock::time_point since;
  };

  void run() {
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, kPeriod, [this] { return stop_; })) {
      lock.unlock();
      const auto now = Clock::now();
      for (Departure& notice : receive_departures()) {
        const int rank = notice.rank;
        if (notice.back) {
          gone_.erase(rank);
        } else {
          gone_.insert_or_assign(rank, Gone{std::move(notice), now});
        }
      }
      if (!gone_.empty()) {
        look(now);
      }
      lock.lock();
    }
  }

  // The counts make this exact: a slow rank is never taken for a missing one, because the rank that
  // left has either asked for the collective that this one is in, or never will.
  void look(Clock::time_point now) {
    const std::vector<LedgerView> views = ledgers();
    seen_.resize(std::max(seen_.size(), 2 * views.size()));
    for (std::size_t i = 0; i < views.size(); ++i) {
      const Ledger& ledger = *views[i].ledger;
      const std::uint64_t finished = ledger.finished.load(std::memory_order_acquire);
      const std::uint64_t started = ledger.started.load(std::memory_order_acquire);
      look(now, 2 * i, started > finished ? started : 0, ledger.what.load(), views[i].name);
      look(now, 2 * i + 1, ledger.device_submitted.load(), "a collective on its device",
           views[i].name);
    }
  }

  // `number`: of the collective that this rank waits for in place `i` of the counts; 0 if none.
  void look(Clock::time_point now, std::size_t i, std::uint64_t number, const char* what,
            const std::string& name) {
    if (seen_[i].number != number) {
      seen_[i] = {number, now};
    }
    for (const auto& [rank, gone] : gone_) {
      const auto& counts = gone.notice.submitted;
      const std::uint64_t asked_for = i < counts.size() ? counts[i] : 0;
      if (number > asked_for && now - std::max(gone.when, seen_[i].since) > kGrace) {
        abort_job(fabric::detail::str("rank ", rank, " left (", gone.notice.reason,
                                      ") while this rank waits for it in ", what,
                                      name.empty() ? "" : " of communicator '" + name + "'"),
                  1);
      }
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::thread thread_;
  std::map<int, Gone> gone_;  // of the watchdog thread, like seen_
  std::vector<Seen> seen_;
};

Watchdog& watchdog() {
  static Watchdog& instance = *new Watchdog;
  return instance;
}

}  // namespace

void start_watchdog() {
  watchdog().start();
}
void stop_watchdog() {
  watchdog().stop();
}

}  // namespace fabric::mpi::detail
