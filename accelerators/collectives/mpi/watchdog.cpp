#include <accelerators/collectives/mpi/watchdog.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include <accelerators/collectives/mpi/departure.h>
#include <accelerators/collectives/mpi/mpi.h>
#include <accelerators/collectives/mpi/pool.h>
#include <accelerators/collectives/patience.h>
#include <accelerators/collectives/world.h>
#include <accelerators/error.h>
#include <accelerators/logging.h>
#include <accelerators/text.h>

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
    Notice notice;
    Clock::time_point when;
  };
  struct Seen {
    std::uint64_t number = 0;
    Clock::time_point since;
  };

  // To all ranks, about a collective that this one waits for.
  struct Question {
    std::size_t place = 0;     // in the counts
    std::uint64_t number = 0;  // of the collective
    Clock::time_point when;
    std::map<int, Notice> answers;
  };

  static std::uint64_t asked_for(const Notice& notice, std::size_t place) {
    return place < notice.submitted.size() ? notice.submitted[place] : 0;
  }

  void run() {
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, kPeriod, [this] { return stop_; })) {
      lock.unlock();
      const auto now = Clock::now();
      for (Notice& notice : receive_notices()) {
        take(std::move(notice), now);
      }
      look(now);
      lock.lock();
    }
  }

  void take(Notice notice, Clock::time_point now) {
    const int rank = notice.rank;
    switch (notice.kind) {
      case NoticeKind::left:
        gone_.insert_or_assign(rank, Gone{std::move(notice), now});
        break;
      case NoticeKind::back:
        gone_.erase(rank);
        break;
      case NoticeKind::question:
        answer_with_counts(rank, whereabouts());
        break;
      case NoticeKind::answer:
        if (question_) {
          question_->answers.insert_or_assign(rank, std::move(notice));
        }
        break;
    }
  }

  // "waits in all_reduce of communicator 'user'"
  static std::string place(const char* what, const std::string& name) {
    return fabric::detail::str(what, name.empty() ? "" : " of communicator '" + name + "'");
  }
  static std::string whereabouts() {
    std::string text;
    for (const LedgerView& view : ledgers()) {
      if (view.ledger->running() > 0) {
        text += (text.empty() ? "waits in " : " and ") + place(view.ledger->what.load(), view.name);
      }
    }
    return text.empty() ? "is in no collective" : text;
  }

  static bool takes_part(int rank, const LedgerView& view) {
    return view.ranks.empty() ||
           std::find(view.ranks.begin(), view.ranks.end(), rank) != view.ranks.end();
  }

  // The counts make this exact: a slow rank is never taken for a missing one, because the rank that
  // left has either asked for the collective that this one is in, or never will.
  void look(Clock::time_point now) {
    const std::vector<LedgerView> views = ledgers();
    seen_.resize(std::max(seen_.size(), 2 * views.size()));
    for (std::size_t i = 0; i < views.size(); ++i) {
      const Ledger& ledger = *views[i].ledger;
      const std::uint64_t waiting = ledger.running();
      look(now, 2 * i, waiting, ledger.what.load(), views[i]);
      look_for_hang(now, 2 * i, waiting, ledger.what.load(), views[i]);
      look(now, 2 * i + 1, ledger.device_submitted.load(), "a collective on its device", views[i]);
    }
  }

  // `number`: of the collective that this rank waits for in place `i` of the counts; 0 if none.
  void look(Clock::time_point now, std::size_t i, std::uint64_t number, const char* what,
            const LedgerView& view) {
    if (seen_[i].number != number) {
      seen_[i] = {number, now};
    }
    for (const auto& [rank, gone] : gone_) {
      if (takes_part(rank, view) && number > asked_for(gone.notice, i) &&
          now - std::max(gone.when, seen_[i].since) > kGrace) {
        abort_job(fabric::detail::str("rank ", rank, " left (", gone.notice.text,
                                      ") while this rank waits for it in ", place(what, view.name)),
                  1);
      }
    }
  }

  // A rank that waits too long asks the others for their counts. Those that have not asked for this
  // collective keep it waiting; if all have, the collective is only slow.
  void look_for_hang(Clock::time_point now, std::size_t i, std::uint64_t number, const char* what,
                     const LedgerView& view) {
    if (number == 0 || timeout_ == 0s || Patience::any()) {
      return;
    }
    if (!question_) {
      if (now - seen_[i].since > timeout_) {
        question_ = Question{i, number, now, {}};
        ask_for_counts();
      }
    } else if (question_->place == i && question_->number == number) {
      if (now - question_->when > kGrace) {
        report_missing(*question_, what, view);
        question_.reset();
        seen_[i].since = now;  // it is only slow: ask again after as long
      }
    } else if (now - question_->when > 2 * kGrace) {
      question_.reset();  // what was asked about has ended
    }
  }

  void report_missing(const Question& question, const char* what, const LedgerView& view) {
    std::string missing;
    for (int rank = 0; rank < world().size; ++rank) {
      const auto answer = question.answers.find(rank);
      const bool answered = answer != question.answers.end();
      if (rank != world().rank && takes_part(rank, view) &&
          !(answered && asked_for(answer->second, question.place) >= question.number)) {
        missing += fabric::detail::str(missing.empty() ? "" : ", ", "rank ", rank, " ",
                                       answered ? answer->second.text : "does not answer");
      }
    }
    if (!missing.empty()) {
      abort_job(
          fabric::detail::str(
              "not all ranks took part in ", place(what, view.name), " within ", timeout_.count(),
              " s: ", missing, ", while this rank waits. Hint: every rank must run the same ",
              "collectives in the same order; a backward through a model is one, and so is ",
              "reading a sharded parameter: fabric.full_parameters(model) on all ranks lets ",
              "one of them read. ", "FABRIC_TIMEOUT sets the seconds, 0 waits for ever."),
          1);
    }
  }

  static std::chrono::seconds timeout_from_environment() {
    const char* text = std::getenv("FABRIC_TIMEOUT");
    const auto seconds = fabric::detail::parse_int(fabric::detail::trim(text ? text : "1800"));
    if (!seconds || *seconds < 0) {
      fabric::detail::log_warning(fabric::detail::str(
          "[fabric.timeout] not a number of seconds; got FABRIC_TIMEOUT='", text,
          "'; expected 0 (for ever) or more, such as 1800, which is used now"));
      return 1800s;
    }
    return std::chrono::seconds(*seconds);
  }

  const std::chrono::seconds timeout_ = timeout_from_environment();
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::thread thread_;
  std::map<int, Gone> gone_;  // of the watchdog thread, like seen_
  std::vector<Seen> seen_;
  std::optional<Question> question_;
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
