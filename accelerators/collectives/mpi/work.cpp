#include <accelerators/collectives/mpi/work.h>

#include <utility>

#include <accelerators/error.h>

namespace fabric::mpi {

Work::Work(int rank, c10d::OpType type, const char* what, std::vector<at::Tensor> outputs,
           std::chrono::milliseconds timeout)
    : c10d::Work(rank, type), what_(what), outputs_(std::move(outputs)), timeout_(timeout) {}

bool Work::isSuccess() const {
  return done_.load(std::memory_order_acquire) && exception_ == nullptr;
}

std::exception_ptr Work::exception() const {
  return done_.load(std::memory_order_acquire) ? exception_ : nullptr;
}

bool Work::wait(std::chrono::milliseconds timeout) {
  if (!done_.load(std::memory_order_acquire)) {
    if (timeout.count() <= 0) {
      timeout = timeout_;
    }
    std::unique_lock lock(mutex_);
    const auto done = [this] { return completed_; };
    if (timeout.count() <= 0) {
      cv_.wait(lock, done);
    } else {
      FABRIC_CHECK(Communication, cv_.wait_for(lock, timeout, done), "[fabric.", what_,
                   "] it did not end within ", timeout.count(),
                   " ms; expected every rank to take part by then. Hint: look for a rank that is "
                   "slow, has left, or makes its collectives in another order");
    }
  }
  if (exception_ != nullptr) {
    std::rethrow_exception(exception_);
  }
  return true;
}

void Work::settle(c10::ivalue::Future& future) const {
  if (exception_ != nullptr) {
    future.setError(exception_);
  } else {
    future.markCompleted(c10::IValue(outputs_));
  }
}

c10::intrusive_ptr<c10::ivalue::Future> Work::getFuture() {
  std::unique_lock lock(mutex_);
  if (!future_) {
    future_ = c10::make_intrusive<c10::ivalue::Future>(c10::ListType::ofTensors());
    if (completed_) {
      auto future = future_;
      lock.unlock();
      settle(*future);
      return future;
    }
  }
  return future_;
}

void Work::complete_unseen(std::exception_ptr error) {
  exception_ = std::move(error);
  completed_ = true;
  done_.store(true, std::memory_order_release);
}

void Work::complete(std::exception_ptr error) {
  c10::intrusive_ptr<c10::ivalue::Future> future;
  {
    std::lock_guard lock(mutex_);
    exception_ = std::move(error);
    completed_ = true;
    done_.store(true, std::memory_order_release);
    future = future_;
  }
  cv_.notify_all();
  if (future) {
    settle(*future);  // runs the callbacks of others: no lock is held
  }
}

}  // namespace fabric::mpi
