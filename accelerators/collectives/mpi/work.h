// One collective under way on a CPU backend: who waits for it, and how it ended.
#pragma once

#include <atomic>
#include <chrono>
#include <vector>

#include <ATen/core/ivalue.h>
#include <torch/csrc/distributed/c10d/Work.hpp>

namespace fabric::mpi {

/// A collective that ran inline is complete when the caller gets it; one on the progress thread
/// completes there. Its tensors stay alive until then.
class Work final : public c10d::Work {
 public:
  /// @param what the collective, a string literal for texts
  /// @param timeout how long wait() without a timeout waits; zero or less means for ever
  Work(int rank, c10d::OpType type, const char* what, std::vector<at::Tensor> outputs,
       std::chrono::milliseconds timeout);

  bool isCompleted() override { return done_.load(std::memory_order_acquire); }
  bool isSuccess() const override;
  std::exception_ptr exception() const override;
  std::vector<at::Tensor> result() override { return outputs_; }

  /// Blocks until the collective has ended.
  /// @throws what the collective threw, or CommunicationError after `timeout` (zero: none)
  bool wait(std::chrono::milliseconds timeout = kNoTimeout) override;
  void synchronize() override {}

  /// A future of the output tensors (a list), completed with the collective.
  c10::intrusive_ptr<c10::ivalue::Future> getFuture() override;

  /// Completes it before anybody else can see it.
  void complete_unseen(std::exception_ptr error);
  /// Completes it and wakes everyone who waits.
  void complete(std::exception_ptr error);

 private:
  void settle(c10::ivalue::Future& future) const;

  const char* what_;
  std::vector<at::Tensor> outputs_;
  std::chrono::milliseconds timeout_;
  std::atomic<bool> done_{false};  // written after exception_, read before it
  c10::intrusive_ptr<c10::ivalue::Future> future_;
};

}  // namespace fabric::mpi
