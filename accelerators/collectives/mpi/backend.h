// The c10d backend for CPU tensors on MPI.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <torch/csrc/distributed/c10d/Backend.hpp>

namespace fabric::mpi {

/// Where operations run. `automatic` takes the calling thread for messages up to 64 KB, where the
/// ranks and their compute threads fill all cores, and below MPI_THREAD_MULTIPLE; else the
/// backend's progress thread. Operations never overtake each other, so one that would run inline
/// is queued while others are before it.
enum class Progress { automatic, run_inline, thread };

/// Collectives over the world, or over groups that divide it, on a communicator of its own. Tensors
/// must be contiguous CPU tensors; reductions take float, double, half, bfloat16, all integer
/// dtypes and bool, copies any dtype. Misuse throws CommunicationError from the call; failures of
/// MPI reach Work::wait() and the future. Every rank makes the same calls in the same order. In a
/// world of one the results are as with more, and nothing is sent.
class Backend final : public c10d::Backend {
 public:
  /// @param ranks of the world that communicate, ascending, this one included
  Backend(const std::string& name, const std::vector<int>& ranks);
  ~Backend() override;

  const std::string getBackendName() const override { return "fabric_mpi"; }
  const std::string& name() const { return name_; }

  /// Overrides where operations run; begins as the environment variable FABRIC_MPI_PROGRESS says
  /// ("inline", "thread" or "auto", the default). "thread" below MPI_THREAD_MULTIPLE runs inline.
  void set_progress(Progress progress) { progress_ = progress; }
  Progress progress() const { return progress_; }

  /// Whether an operation of this size runs in its caller's thread when none is queued before it.
  bool prefers_inline(std::int64_t bytes) const;

  /// Collectives asked for, begun and ended so far on this backend, for tests and texts.
  std::uint64_t submitted() const;
  std::uint64_t started() const;
  std::uint64_t finished() const;
  /// Enters a collective of the same group's device backend into the books.
  void count_device_collective();
  /// How many of them ran in their caller's thread.
  std::uint64_t ran_inline() const { return ran_inline_.load(std::memory_order_relaxed); }

  using Tensors = std::vector<at::Tensor>;
  using TensorLists = std::vector<std::vector<at::Tensor>>;
  using WorkPtr = c10::intrusive_ptr<c10d::Work>;

  WorkPtr allreduce(Tensors& tensors, const c10d::AllreduceOptions& options = {}) override;
  WorkPtr allreduce_coalesced(Tensors& tensors,
                              const c10d::AllreduceCoalescedOptions& options = {}) override;
  WorkPtr broadcast(Tensors& tensors, const c10d::BroadcastOptions& options = {}) override;
  WorkPtr allgather(TensorLists& outputs, Tensors& inputs,
                    const c10d::AllgatherOptions& options = {}) override;
  WorkPtr _allgather_base(at::Tensor& output, at::Tensor& input,
                          const c10d::AllgatherOptions& options = {}) override;
  WorkPtr allgather_coalesced(TensorLists& outputs, Tensors& inputs,
                              const c10d::AllgatherOptions& options = {}) override;
  WorkPtr allgather_into_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                          const c10d::AllgatherOptions& options = {}) override;
  WorkPtr reduce_scatter(Tensors& outputs, TensorLists& inputs,
                         const c10d::ReduceScatterOptions& options = {}) override;
  WorkPtr _reduce_scatter_base(at::Tensor& output, at::Tensor& input,
                               const c10d::ReduceScatterOptions& options = {}) override;
  WorkPtr reduce_scatter_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                          const c10d::ReduceScatterOptions& options = {}) override;
  WorkPtr barrier(const c10d::BarrierOptions& options = {}) override;

 private:
  struct Channel;  // the communicator and its FIFO; keeps mpi.h out of this header

  template <class Run>
  WorkPtr submit(c10d::OpType type, const char* what, std::int64_t bytes, Tensors outputs,
                 std::chrono::milliseconds timeout, Run run);

  std::string name_;
  Progress progress_;
  std::atomic<std::uint64_t> ran_inline_{0};
  std::unique_ptr<Channel> channel_;
};

}  // namespace fabric::mpi
