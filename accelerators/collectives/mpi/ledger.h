// Counts the collectives of one communicator, so that a watchdog can tell what a rank waits for.
#pragma once

#include <atomic>
#include <cstdint>

namespace fabric::mpi::detail {

/// Collectives ever asked for, begun and ended on one communicator. All ranks count alike, so a
/// rank that left with `submitted` = n will never take part in collective n + 1 of its peers.
struct Ledger {
  std::atomic<std::uint64_t> submitted{0};
  std::atomic<std::uint64_t> started{0};   ///< written by the one thread that runs the collective
  std::atomic<std::uint64_t> finished{0};  ///< likewise
  std::atomic<const char*> what{""};       ///< the latest begun, a string literal
  /// Collectives asked for on the device backend of the same group. Their end is known to the
  /// device alone, but one that a departed rank did not ask for can never end.
  std::atomic<std::uint64_t> device_submitted{0};

  void submit() { count(submitted); }
  void submit_on_device() { count(device_submitted); }

  void begin(const char* name) {
    what.store(name, std::memory_order_relaxed);
    started.store(started.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }

  /// The number of the collective that runs, 0 if none does.
  std::uint64_t running() const {
    const std::uint64_t done = finished.load(std::memory_order_acquire);
    const std::uint64_t begun = started.load(std::memory_order_acquire);
    return begun > done ? begun : 0;
  }

  void end() {
    finished.store(finished.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }

 private:
  static void count(std::atomic<std::uint64_t>& counter);
};

/// Set between announce_departure() and the next collective of this rank.
extern std::atomic<bool> departure_announced;
/// Tells the other ranks that this one is back (leave.cpp).
void announce_return();

inline void Ledger::count(std::atomic<std::uint64_t>& counter) {
  counter.fetch_add(1, std::memory_order_relaxed);
  if (departure_announced.load(std::memory_order_relaxed)) [[unlikely]] {
    announce_return();
  }
}

/// Enters one collective into a ledger for its own lifetime.
class Activity {
 public:
  Activity(Ledger& ledger, const char* what) : ledger_(ledger) {
    ledger_.submit();
    ledger_.begin(what);
  }
  ~Activity() { ledger_.end(); }
  Activity(const Activity&) = delete;
  Activity& operator=(const Activity&) = delete;

 private:
  Ledger& ledger_;
};

}  // namespace fabric::mpi::detail
