#include <accelerators/collectives/mpi/pool.h>

#include <deque>
#include <mutex>

#include <accelerators/collectives/mpi/control.h>
#include <accelerators/collectives/mpi/job.h>
#include <accelerators/collectives/mpi/mpi_error.h>
#include <accelerators/collectives/world.h>
#include <accelerators/error.h>

namespace fabric::mpi::detail {
namespace {

struct Pool {
  std::mutex mutex;        // guards the rest; never held inside MPI
  std::deque<Slot> slots;  // a deque: slots stay where they are
  Ledger control;
};

Pool& pool() {
  static Pool& instance = *new Pool;
  return instance;
}

// FNV-1a: the same on every rank, unlike std::hash across builds.
std::uint64_t hash_of(const std::string& text) {
  std::uint64_t hash = 14695981039346656037ull;
  for (unsigned char c : text) {
    hash = (hash ^ c) * 1099511628211ull;
  }
  return hash;
}

}  // namespace

Slot* acquire_slot(const std::string& name, const std::vector<int>& ranks) {
  Pool& all = pool();
  // Words 0 and 1 compare the names: a hash and its complement both survive an AND over the ranks
  // only when all are equal. The rest is the bitmap of free slots.
  const std::uint64_t hash = hash_of(name);
  std::vector<std::uint64_t> words = {hash, ~hash};
  {
    std::lock_guard lock(all.mutex);
    words.resize(2 + (all.slots.size() + 63) / 64, 0);
    for (const Slot& slot : all.slots) {
      if (!slot.in_use && slot.ranks == ranks) {
        words[2 + slot.index / 64] |= std::uint64_t{1} << (slot.index % 64);
      }
    }
  }
  control_and(words, "the making of a communicator");
  FABRIC_CHECK(
      Communication, words[0] == hash && words[1] == ~hash,
      "[fabric.communicator] the ranks make different communicators at the same time; got '", name,
      "' on this rank and another name elsewhere; expected the same on every rank. "
      "Hint: every rank must set up the same models in the same order.");
  for (std::size_t word = 2; word < words.size(); ++word) {
    if (words[word] != 0) {
      const int index = static_cast<int>((word - 2) * 64) + __builtin_ctzll(words[word]);
      std::lock_guard lock(all.mutex);
      Slot& slot = all.slots[index];
      slot.in_use = true;
      slot.name = name;
      return &slot;
    }
  }
  MPI_Comm made = MPI_COMM_NULL;
  {
    Activity activity(all.control, "the making of a communicator");
    if (static_cast<int>(ranks.size()) == world().size) {
      check(MPI_Comm_dup(job().world, &made), "MPI_Comm_dup");
    } else {
      check(MPI_Comm_split(job().world, ranks.front(), world().rank, &made), "MPI_Comm_split");
    }
  }
  std::lock_guard lock(all.mutex);
  Slot& slot = all.slots.emplace_back();
  slot.index = static_cast<int>(all.slots.size()) - 1;
  slot.comm = made;
  slot.ranks = ranks;
  slot.in_use = true;
  slot.name = name;
  return &slot;
}

void release_slot(Slot* slot) {
  std::lock_guard lock(pool().mutex);
  slot->in_use = false;
}

Ledger& control_ledger() {
  return pool().control;
}

int slots_made() {
  std::lock_guard lock(pool().mutex);
  return static_cast<int>(pool().slots.size());
}

std::vector<LedgerView> ledgers() {
  Pool& all = pool();
  std::lock_guard lock(all.mutex);
  std::vector<LedgerView> views = {{&all.control, "", {}}};
  for (Slot& slot : all.slots) {
    views.push_back({&slot.ledger, slot.name, slot.ranks});
  }
  return views;
}

std::vector<std::uint64_t> submitted_counts() {
  std::vector<std::uint64_t> counts;
  for (const LedgerView& view : ledgers()) {
    counts.push_back(view.ledger->submitted.load(std::memory_order_relaxed));
    counts.push_back(view.ledger->device_submitted.load(std::memory_order_relaxed));
  }
  return counts;
}

}  // namespace fabric::mpi::detail
