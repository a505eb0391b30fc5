// The parameters of one unit: a shard on every rank, gathered into one flat storage for use.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include <accelerators/collectives/communicator.h>
#include <strategies/flat/shard_layout.h>
#include <strategies/flat/transient_storage.h>
#include <strategies/strategy.h>

namespace fabric {

/// A run of parameters whose part of a shard is one tensor of an optimizer.
struct ShardSegment {
  std::vector<std::size_t> members;  ///< of the unit, consecutive
  ShardLayout::Range range;          ///< in the shard; may be empty on this rank
  at::Tensor parameter;              ///< (range.size), a leaf on the shard
};

/// What a unit's numbers are gathered and reduced in, and where its shard lies.
struct UnitFormat {
  std::optional<at::ScalarType> parameters;  ///< gathered; of the model if empty
  std::optional<at::ScalarType> gradients;   ///< reduced; as gathered if empty
  bool shard_on_host = false;
};

/// Parameters of one dtype. They keep their identity: user's handles stay valid, and show the whole
/// parameters while the unit is unsharded. Floating-point parameters are gathered in the dtype of
/// the format, the shard keeps their own.
class FlatUnit {
 public:
  /// Takes the parameters over with rank 0's values and shards them. Collective.
  /// @param name what texts call it ("blocks.0")
  /// @param parameters on `device`, or deferred: they get their values one after the other
  /// @param ranks those that share the unit
  /// @param everyone all ranks of the job
  FlatUnit(std::string name, std::vector<NamedTensor> parameters, c10::Device device,
           const Communicator& ranks, const Communicator& everyone, const UnitFormat& format);

  const std::string& name() const { return name_; }
  const std::vector<NamedTensor>& members() const { return members_; }
  const ShardLayout& layout() const { return layout_; }
  std::int64_t nbytes() const { return whole_.nbytes(); }
  const TransientStorage& whole() const { return whole_; }

  bool unsharded() const { return whole_.shown(); }
  bool gathering() const { return whole_.allocated() && !whole_.shown(); }
  /// Starts the all-gather of the shards, if it has not been started.
  void start_unshard(const Communicator& ranks);
  /// Waits for it; the members are valid afterwards.
  void finish_unshard();
  /// Frees the whole parameters. Nothing must be using them.
  void reshard();

  /// This rank's part, (layout().shard).
  const at::Tensor& shard() const { return shard_; }
  /// Takes what an operator wrote to elements [begin, end) of the whole into the shard.
  void keep_written(std::int64_t begin, std::int64_t end);

  /// Puts the members on ordinary memory that holds them whole, as precise as the shards are, until
  /// `release_whole`, which takes into the shard what was written there. Collective.
  void hold_whole(const Communicator& ranks);
  void release_whole();

  /// The shard was changed by others (an optimizer).
  void mark_updated() { updated_ = true; }
  bool updated() const { return updated_; }
  /// Acts on it: members count as changed in place. The unit must be sharded.
  void take_update();

  /// Takes back members whose data the user has replaced (`set_data`, `torch::load`).
  /// @throws RoutingError where dtype, device or size do not fit
  /// @returns whether there were any; the shard then has an update
  bool readopt(const std::string& model);

  const std::vector<ShardSegment>& segments() const { return segments_; }
  /// Cuts the shard anew: every member belongs to the segment of its number. Consecutive members of
  /// one number form one segment.
  void cut_segments(const std::vector<int>& numbers);

 private:
  /// Where member `index` lies in a flat tensor of layout().total elements.
  at::Tensor place_of(const at::Tensor& flat, std::size_t index) const;

  std::string name_;
  std::vector<NamedTensor> members_;
  ShardLayout layout_;
  int rank_;
  TransientStorage whole_;
  at::Tensor shard_;
  std::vector<ShardSegment> segments_;
  bool updated_ = false;
  PendingCollective gather_;
  at::Tensor held_;  // by hold_whole
};

}  // namespace fabric
