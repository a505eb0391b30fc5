// Notices between ranks: "I left, after so many collectives", "I am back", "how many have you asked
// for?" and the answer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fabric::mpi::detail {

enum class NoticeKind : std::uint64_t {
  left,
  back,      ///< the rank takes part again: forget its departure
  question,  ///< the rank waits in vain: tell it your counts
  answer,
};

struct Notice {
  int rank = 0;
  NoticeKind kind = NoticeKind::left;
  std::string text;                      ///< why it left, or where the rank that answers is
  std::vector<std::uint64_t> submitted;  ///< what it had asked for: submitted_counts()
};

/// Sends a notice to every other rank. Not collective. Needs MPI_THREAD_MULTIPLE and a world larger
/// than one; otherwise it does nothing.
void send_departure(const std::string& reason);

/// The same for the other kinds; `answer` goes to one rank.
void ask_for_counts();
void answer_with_counts(int rank, const std::string& text);

/// Takes the notices that have arrived. Called by the watchdog alone.
std::vector<Notice> receive_notices();

/// The reason of the latest announce_departure() of this rank; "" if none.
std::string last_reason();

}  // namespace fabric::mpi::detail
