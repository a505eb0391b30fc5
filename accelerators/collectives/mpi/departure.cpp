#include <accelerators/collectives/mpi/departure.h>

#include <cstring>
#include <deque>
#include <mutex>

#include <mpi.h>

#include <accelerators/collectives/mpi/job.h>
#include <accelerators/collectives/mpi/mpi.h>
#include <accelerators/collectives/mpi/pool.h>

namespace fabric::mpi {
namespace detail {

std::atomic<bool> departure_announced{false};

namespace {

constexpr int kNoticeTag = 2;
constexpr int kEveryone = -1;
constexpr std::size_t kLongestText = 2048;  // notices stay below the size that MPI sends eagerly

struct Sent {
  std::mutex mutex;
  std::deque<std::vector<char>> notices;  // alive until the process ends; nobody waits for sends
  std::string reason;
};

Sent& sent() {
  static Sent& instance = *new Sent;
  return instance;
}

// The form of a notice: kind, number of counts, counts, text.
std::vector<char> pack(NoticeKind kind, const std::string& text) {
  const std::vector<std::uint64_t> counts = submitted_counts();
  std::vector<std::uint64_t> head = {static_cast<std::uint64_t>(kind), counts.size()};
  head.insert(head.end(), counts.begin(), counts.end());
  std::vector<char> notice(head.size() * sizeof(std::uint64_t));
  std::memcpy(notice.data(), head.data(), notice.size());
  notice.insert(notice.end(), text.begin(), text.end());
  return notice;
}

Notice unpack(int rank, const std::vector<char>& notice) {
  constexpr std::size_t kWord = sizeof(std::uint64_t);
  std::uint64_t head[2];
  std::memcpy(head, notice.data(), sizeof(head));
  Notice received{rank, static_cast<NoticeKind>(head[0]), "", std::vector<std::uint64_t>(head[1])};
  std::memcpy(received.submitted.data(), notice.data() + sizeof(head), head[1] * kWord);
  received.text.assign(notice.begin() + sizeof(head) + head[1] * kWord, notice.end());
  return received;
}

void send(NoticeKind kind, const std::string& text, int to = kEveryone) {
  Job& here = job();
  if (!here.joined || here.finalized || !here.owned || !threads_allowed() || world().size == 1) {
    return;
  }
  const std::vector<char>* notice = nullptr;
  {
    std::lock_guard lock(sent().mutex);
    notice = &sent().notices.emplace_back(pack(kind, text.substr(0, kLongestText)));
  }
  for (int rank = 0; rank < world().size; ++rank) {
    if (rank != world().rank && (to == kEveryone || to == rank)) {
      MPI_Request request = MPI_REQUEST_NULL;
      if (MPI_Isend(notice->data(), static_cast<int>(notice->size()), MPI_BYTE, rank, kNoticeTag,
                    here.leaving, &request) == MPI_SUCCESS) {
        MPI_Request_free(&request);
      }
    }
  }
}

}  // namespace

void send_departure(const std::string& reason) {
  send(NoticeKind::left, reason);
}

void ask_for_counts() {
  send(NoticeKind::question, "");
}

void answer_with_counts(int rank, const std::string& text) {
  send(NoticeKind::answer, text, rank);
}

void announce_return() {
  if (departure_announced.exchange(false)) {
    {
      std::lock_guard lock(sent().mutex);
      sent().reason.clear();
    }
    send(NoticeKind::back, "");
  }
}

std::string last_reason() {
  std::lock_guard lock(sent().mutex);
  return sent().reason;
}

std::vector<Notice> receive_notices() {
  std::vector<Notice> arrived;
  while (true) {
    int flag = 0;
    MPI_Status status;
    if (MPI_Iprobe(MPI_ANY_SOURCE, kNoticeTag, job().leaving, &flag, &status) != MPI_SUCCESS ||
        flag == 0) {
      return arrived;
    }
    int size = 0;
    MPI_Get_count(&status, MPI_BYTE, &size);
    std::vector<char> notice(size);
    if (MPI_Recv(notice.data(), size, MPI_BYTE, status.MPI_SOURCE, kNoticeTag, job().leaving,
                 MPI_STATUS_IGNORE) != MPI_SUCCESS) {
      return arrived;
    }
    arrived.push_back(unpack(status.MPI_SOURCE, notice));
  }
}

}  // namespace detail

void announce_departure(const std::string& reason) {
  if (!detail::job().joined || detail::job().finalized || world().size == 1) {
    return;
  }
  {
    std::lock_guard lock(detail::sent().mutex);
    detail::sent().reason = reason;
  }
  detail::send_departure(reason);
  detail::departure_announced = true;
}

}  // namespace fabric::mpi
