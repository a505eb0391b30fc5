// The order of operations on one communicator, and the thread that works them off.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

namespace fabric::mpi::detail {

/// Something to be done on the progress thread. Neither function may throw.
class Operation {
 public:
  virtual ~Operation() = default;
  virtual void run() = 0;
  /// Called after run(), when the next operation may already run elsewhere.
  virtual void finish() = 0;
};

/// Runs operations one after the other: in the calling thread when nothing is before them, or on a
/// thread of its own, which starts with the first operation that needs it. No lock is held while an
/// operation runs.
class Fifo {
 public:
  Fifo() = default;
  /// Works off what is left, then joins the thread.
  ~Fifo();
  Fifo(const Fifo&) = delete;
  Fifo& operator=(const Fifo&) = delete;

  /// Takes the turn if nothing runs or waits. Follow it with the operation and end_turn().
  bool try_turn();
  /// Waits until the turn is free and takes it.
  void wait_turn();
  void end_turn();

  void push(std::unique_ptr<Operation> operation);

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<std::unique_ptr<Operation>> queue;
    bool busy = false;  // an operation runs
    bool stop = false;
  };
  static void work(std::shared_ptr<State> state);

  // Shared with the thread, which may have to outlive this object (see the destructor).
  std::shared_ptr<State> state_ = std::make_shared<State>();
  std::thread thread_;
};

}  // namespace fabric::mpi::detail
