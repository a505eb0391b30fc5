// The inside of a backend: its communicator, its FIFO, and how an operation gets to either thread.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <accelerators/collectives/mpi/backend.h>
#include <accelerators/collectives/mpi/fifo.h>
#include <accelerators/collectives/mpi/job.h>
#include <accelerators/collectives/mpi/operations.h>
#include <accelerators/collectives/mpi/pool.h>
#include <accelerators/collectives/mpi/work.h>

namespace fabric::mpi {

struct Backend::Channel {
  Channel(const std::string& name, const std::vector<int>& ranks, int rank)
      : slot(detail::acquire_slot(name, ranks)) {
    group.comm = slot->comm;
    group.rank = rank;
    group.size = static_cast<int>(ranks.size());
    submitted_before = slot->ledger.submitted.load();
    started_before = slot->ledger.started.load();
    finished_before = slot->ledger.finished.load();
  }
  ~Channel() {
    fifo.reset();  // works off what is left
    detail::release_slot(slot);
  }

  detail::Slot* slot;
  detail::Group group;
  std::unique_ptr<detail::Fifo> fifo = std::make_unique<detail::Fifo>();
  // The ledger counts over all users of the slot.
  std::uint64_t submitted_before, started_before, finished_before;
};

namespace detail {

/// Runs one collective and keeps the ledger; what it throws comes back.
template <class Run>
std::exception_ptr perform(Ledger& ledger, const char* what, const Group& group, Run& run) {
  std::exception_ptr error;
  ledger.begin(what);
  try {
    run(group);
  } catch (...) {
    error = std::current_exception();
  }
  ledger.end();
  return error;
}

/// A collective that waits for the progress thread.
template <class Run>
class Queued final : public Operation {
 public:
  Queued(c10::intrusive_ptr<Work> work, Ledger& ledger, const char* what, const Group& group,
         Run run)
      : work_(std::move(work)), ledger_(ledger), what_(what), group_(group), run_(std::move(run)) {}
  void run() override { error_ = perform(ledger_, what_, group_, run_); }
  void finish() override { work_->complete(std::move(error_)); }

 private:
  c10::intrusive_ptr<Work> work_;
  Ledger& ledger_;
  const char* what_;
  Group group_;
  Run run_;
  std::exception_ptr error_;
};

}  // namespace detail

/// `run` takes a `const detail::Group&`, holds every tensor it touches, and calls operations.h.
template <class Run>
Backend::WorkPtr Backend::submit(c10d::OpType type, const char* what, std::int64_t bytes,
                                 Tensors outputs, std::chrono::milliseconds timeout, Run run) {
  detail::joined_job("fabric.collective");
  Channel& channel = *channel_;
  detail::Ledger& ledger = channel.slot->ledger;
  auto work = c10::make_intrusive<Work>(getRank(), type, what, std::move(outputs), timeout);
  bool turn = false;
  if (!detail::threads_allowed()) {
    channel.fifo->wait_turn();
    turn = true;
  } else if (prefers_inline(bytes)) {
    turn = channel.fifo->try_turn();
  }
  ledger.submit();
  if (turn) {
    ran_inline_.fetch_add(1, std::memory_order_relaxed);
    std::exception_ptr error = detail::perform(ledger, what, channel.group, run);
    channel.fifo->end_turn();
    work->complete_unseen(std::move(error));
  } else {
    channel.fifo->push(
        std::make_unique<detail::Queued<Run>>(work, ledger, what, channel.group, std::move(run)));
  }
  return work;
}

}  // namespace fabric::mpi
