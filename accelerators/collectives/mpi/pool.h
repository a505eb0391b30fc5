// Communicators of this job. They are duplicated once, handed out, taken back and handed out again:
// MPI_Comm_free is collective, and backends are destroyed in any order.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <mpi.h>

#include <accelerators/collectives/mpi/ledger.h>

namespace fabric::mpi::detail {

/// A communicator of the pool. `index` is the same on all ranks.
struct Slot {
  int index = 0;
  MPI_Comm comm = MPI_COMM_NULL;
  std::vector<int> ranks;  ///< of the world that are in it, ascending
  std::string name;        ///< of its present or latest user
  bool in_use = false;
  Ledger ledger;
};

/// Finds the lowest slot that is free on every rank, or makes a new one. Collective over the world;
/// the ranks check that they ask for the same `name`.
/// @param ranks this rank's group, ascending; the groups of all ranks divide the world
Slot* acquire_slot(const std::string& name, const std::vector<int>& ranks);

/// Hands a slot back; every operation on it must have ended. Not collective, makes no MPI call.
void release_slot(Slot* slot);

/// The ledger of the agreements over the control communicator.
Ledger& control_ledger();

int slots_made();

/// A ledger as the watchdog sees it.
struct LedgerView {
  Ledger* ledger;
  std::string name;        ///< "" for the control communicator
  std::vector<int> ranks;  ///< that take part; empty for all
};
/// All ledgers: the control communicator's first, then the slots by index.
std::vector<LedgerView> ledgers();

/// How many collectives this rank has asked for, in the order of ledgers(): two numbers for each,
/// on the CPU and on the device.
std::vector<std::uint64_t> submitted_counts();

}  // namespace fabric::mpi::detail
