// Notices between ranks: "I left, after so many collectives" and "I am back".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fabric::mpi::detail {

struct Departure {
  int rank = 0;
  bool back = false;  ///< the rank takes part again: forget its departure
  std::string reason;
  std::vector<std::uint64_t> submitted;  ///< what it had asked for: submitted_counts()
};

/// Sends a notice to every other rank. Not collective. Needs MPI_THREAD_MULTIPLE and a world larger
/// than one; otherwise it does nothing.
void send_departure(const std::string& reason);

/// Takes the notices that have arrived. Called by the watchdog alone.
std::vector<Departure> receive_departures();

/// The reason of the latest announce_departure() of this rank; "" if none.
std::string last_reason();

}  // namespace fabric::mpi::detail
