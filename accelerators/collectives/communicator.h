// Collectives over the world as strategies and the Fabric object use them.
//
// A Communicator is a small handle over a c10d::ProcessGroup. In a world of one it holds none and
// every call returns at once. Calls go straight to the group's backend for the tensor's device (MPI
// for CPU tensors, NCCL for CUDA tensors), past the dispatcher.
#pragma once

#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/util/intrusive_ptr.h>

#include <accelerators/collectives/reduce_op.h>

namespace c10d {
class Backend;
class ProcessGroup;
class Work;
}  // namespace c10d

namespace fabric {

/// A collective under way. Empty in a world of one. `wait()` orders what follows after it: it
/// blocks for CPU tensors, and inserts a stream dependency for CUDA tensors.
class PendingCollective {
 public:
  PendingCollective();
  explicit PendingCollective(c10::intrusive_ptr<c10d::Work> work);
  PendingCollective(PendingCollective&&) noexcept;
  PendingCollective& operator=(PendingCollective&&) noexcept;
  ~PendingCollective();

  /// @throws CommunicationError when the collective failed
  void wait();
  /// Whether it has finished (true when empty); never blocks.
  bool done() const;

 private:
  c10::intrusive_ptr<c10d::Work> work_;
};

/// Collectives of one group of processes, all of the world. Calls of one Communicator run in the
/// order they were made; two Communicators are independent. Every rank must make the same calls
/// in the same order. Tensors must be contiguous and must not be touched until `wait()`.
class Communicator {
 public:
  /// A world of one: all calls return at once.
  Communicator();
  explicit Communicator(c10::intrusive_ptr<c10d::ProcessGroup> group);
  Communicator(const Communicator&);
  Communicator(Communicator&&) noexcept;
  Communicator& operator=(const Communicator&);
  Communicator& operator=(Communicator&&) noexcept;
  ~Communicator();

  int rank() const { return rank_; }
  int size() const { return size_; }
  /// Whether no group is behind it, as in a world of one: nothing is sent.
  bool alone() const { return !group_; }
  /// The c10d group behind it; null in a world of one.
  const c10::intrusive_ptr<c10d::ProcessGroup>& process_group() const { return group_; }

  /// Reduces `tensor` over ranks, in place. "mean" needs a floating-point dtype.
  [[nodiscard]] PendingCollective all_reduce(at::Tensor tensor, ReduceOp op) const;
  /// Copies rank `source`'s `tensor` into everyone's, in place. Any dtype.
  [[nodiscard]] PendingCollective broadcast(at::Tensor tensor, int source) const;
  /// Fills `output` (size() × input.numel() elements) with everyone's `input`, in rank order.
  /// `input` may be this rank's slice of `output`.
  [[nodiscard]] PendingCollective all_gather(at::Tensor output, at::Tensor input) const;
  /// Reduces `input` (size() × output.numel() elements) and leaves slice rank() in `output`.
  /// `output` may be that slice of `input`.
  [[nodiscard]] PendingCollective reduce_scatter(at::Tensor output, at::Tensor input,
                                                 ReduceOp op) const;
  /// Returns when every rank has called it.
  void barrier() const;

  /// Whether large collectives on `device` run beside the calling thread: always on CUDA, on the
  /// CPU where a core is free for the progress thread. False in a world of one.
  bool asynchronous(c10::Device device) const;

 private:
  c10::intrusive_ptr<c10d::Backend> backend_for(const at::Tensor& tensor) const;

  c10::intrusive_ptr<c10d::ProcessGroup> group_;
  c10d::Backend* cpu_ = nullptr;  // of the group, which keeps it alive
  int rank_ = 0;
  int size_ = 1;
};

/// Makes a Communicator over the joined world with communicators of its own: MPI for CPU tensors
/// and, where `device` is a CUDA device, NCCL for CUDA tensors. Collective: every rank must call it
/// in the same order. In a world of one it makes no group and costs nothing.
/// @param name what it is for ("user", "control", "model 3"), used in texts
Communicator make_communicator(const std::string& name, c10::Device device);

/// The same within groups of equal size that divide the world. Collective over the world.
/// @param ranks of the world that form this rank's group, ascending, this one included
Communicator make_communicator(const std::string& name, c10::Device device,
                               const std::vector<int>& ranks);

namespace detail {

/// While one lives, one process makes groups as many do, so that one device is enough to test what
/// runs through NCCL. CPU tensors then go to MPI where it was joined, else to the fake, which is
/// exact for one rank.
class GroupsOfOne {
 public:
  GroupsOfOne();
  ~GroupsOfOne();
  GroupsOfOne(const GroupsOfOne&) = delete;
  GroupsOfOne& operator=(const GroupsOfOne&) = delete;
};

}  // namespace detail
}  // namespace fabric
