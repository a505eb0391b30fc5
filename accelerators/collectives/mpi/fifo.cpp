#include <accelerators/collectives/mpi/fifo.h>

#include <utility>

namespace fabric::mpi::detail {

Fifo::~Fifo() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stop = true;
  }
  state_->changed.notify_all();
  if (!thread_.joinable()) {
    return;
  }
  // A callback of a future may hold the last reference to the backend: then this is the thread.
  if (thread_.get_id() == std::this_thread::get_id()) {
    thread_.detach();
  } else {
    thread_.join();
  }
}

bool Fifo::try_turn() {
  std::lock_guard lock(state_->mutex);
  if (state_->busy || !state_->queue.empty()) {
    return false;
  }
  state_->busy = true;
  return true;
}

void Fifo::wait_turn() {
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock, [this] { return !state_->busy && state_->queue.empty(); });
  state_->busy = true;
}

void Fifo::end_turn() {
  {
    std::lock_guard lock(state_->mutex);
    state_->busy = false;
  }
  state_->changed.notify_all();
}

void Fifo::push(std::unique_ptr<Operation> operation) {
  {
    std::lock_guard lock(state_->mutex);
    state_->queue.push_back(std::move(operation));
    if (!thread_.joinable()) {
      thread_ = std::thread(work, state_);
    }
  }
  state_->changed.notify_all();
}

void Fifo::work(std::shared_ptr<State> state) {
  const auto next = [&] { return !state->busy && (!state->queue.empty() || state->stop); };
  while (true) {
    std::unique_lock lock(state->mutex);
    state->changed.wait(lock, next);
    if (state->queue.empty()) {
      return;
    }
    const std::unique_ptr<Operation> operation = std::move(state->queue.front());
    state->queue.pop_front();
    state->busy = true;
    lock.unlock();
    operation->run();
    lock.lock();
    state->busy = false;
    lock.unlock();
    state->changed.notify_all();
    // Who waits for it sees the FIFO free, so that a small operation that follows runs inline.
    operation->finish();
  }
}

}  // namespace fabric::mpi::detail
