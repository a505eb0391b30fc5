// The gradients of one unit: collected whole on every rank, reduced to a shard.
//
// What stands in `.grad` of a member:
//   undefined       no gradient, or the user has zeroed it
//   a stand-in      a gradient exists; the stand-in has its shape and carries the parameter key, so
//                   that an operator that reads it gathers the mean from the shards, and one that
//                   writes it writes the shard
// The optimizer's tensors (the segments of the shard) have their part of the mean in `.grad`.
// Gradients that no round has reduced yet (no_backward_sync) stand in the stand-ins as they are.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <accelerators/collectives/communicator.h>
#include <strategies/flat/flat_unit.h>
#include <strategies/flat/transient_storage.h>

namespace fabric {

class UnitGradients {
 public:
  /// @param unit must outlive this object
  /// @param dtype what they are collected and reduced in
  UnitGradients(FlatUnit& unit, int rank, at::ScalarType dtype);

  const TransientStorage& whole() const { return whole_; }
  /// Bytes of the mean in the shard.
  std::int64_t nbytes() const {
    return shard_.defined() ? static_cast<std::int64_t>(shard_.nbytes()) : 0;
  }
  void count_memory(MemoryCount& count) { whole_.count_memory(count); }

  /// Takes the stand-in out of `.grad`, before autograd adds to it.
  void before_accumulation(std::size_t member);
  /// Moves what autograd left in `.grad` into the whole gradients.
  void take(std::size_t member);

  /// Whether this rank holds gradients that have not been reduced.
  bool pending() const { return pending_ > 0; }
  bool pending(std::size_t member) const { return local_[member]; }
  /// Whether a mean for the member is in the shards.
  bool present(std::size_t member) const { return present_[member]; }
  /// Whether all members that are expected to have one hold such a gradient.
  bool complete() const { return arrived_ >= expected_; }
  /// Learns from a finished round which members get gradients.
  void expect_as_now() {
    expected_ = std::max<std::size_t>(1, arrived_);
    arrived_ = 0;
  }

  /// Starts reducing what is there to the shards, zeros for what is not. Collective.
  /// @param ranks those that share the unit
  /// @param replicas those that hold the same shard
  void start_reduce(const Communicator& ranks, const Communicator& replicas);
  bool reducing() const { return reducing_; }
  /// Waits for it, and puts the mean into `.grad` of the segments.
  void finish_reduce();
  /// Members that have a gradient on some rank.
  void mark_present(std::size_t member);

  /// Makes the stand-ins readable: gathers the mean unless local gradients are there. Collective.
  void unshard(const Communicator& ranks);
  bool unsharded() const { return whole_.shown(); }
  /// Frees what was gathered for reading.
  void reshard();
  void keep_written(std::int64_t begin, std::int64_t end);

  /// Follows the user: `.grad` of a member or of a segment that was reset counts as zeroed.
  void reconcile();
  /// Zeroes the gradients of a segment: to none, or to zeros.
  void zero(const ShardSegment& segment, bool to_none);
  /// Gives the segments of the unit, which were cut anew, their part of the mean.
  void distribute();

  void abandon() noexcept;

 private:
  at::Tensor& grad_of(std::size_t member) const;
  bool is_stand_in(const at::Tensor& grad, std::size_t member) const;
  void make_shard();
  at::Tensor segment_slice(const ShardSegment& segment) const;
  void drop_local(std::size_t member);
  void clear_gaps();

  FlatUnit& unit_;
  int rank_;
  TransientStorage whole_;
  std::vector<at::Tensor> stand_ins_;  // one a member, adopted by whole_
  std::vector<at::Tensor> slices_;     // the same places without the key
  std::vector<bool> local_;            // this rank's own gradient is in the whole, not reduced
  std::vector<bool> present_;          // a mean is in the shard
  std::size_t pending_ = 0;            // how many are local
  std::size_t arrived_ = 0;            // gradients in this round
  std::size_t expected_;
  bool local_memory_ = false;  // the whole holds local gradients, not gathered ones
  at::Tensor shard_;           // (shard), the mean; made by the first reduction
  at::Tensor reduced_;         // what the reduction under way fills
  bool first_ = false;         // it is the mean, and not added to one
  PendingCollective reduction_;
  Communicator replicas_;
  bool reducing_ = false;
};

}  // namespace fabric
