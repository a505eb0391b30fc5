// Bytes of tensors that are cut over ranks like the parameters of a unit.
#pragma once

#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include <fabric/checkpoint/stored_tensor.h>
#include <strategies/flat/unit_shards.h>

namespace fabric::detail {

/// Numbers of one unit: its weights, or one tensor of an optimizer's state for all its members.
/// Gathered, every rank of the unit has all of them.
class ShardedUnitBytes final : public GatherGroup {
 public:
  /// The unit's weights.
  explicit ShardedUnitBytes(std::shared_ptr<const UnitShards> unit);
  /// Numbers that are cut like them.
  /// @param own what this rank has of all members, (layout.shard)
  ShardedUnitBytes(std::shared_ptr<const UnitShards> unit, at::Tensor own);
  /// The same, member by member.
  /// @param parts what this rank has of each member, as long as UnitShards::part says; undefined
  ///        for members that have no such numbers
  ShardedUnitBytes(std::shared_ptr<const UnitShards> unit, std::vector<at::Tensor> parts,
                   const at::TensorOptions& options);

  /// A member as a whole. @param self this, as its owner holds it
  StoredTensor member(const std::shared_ptr<ShardedUnitBytes>& self, std::size_t index) const;

  void gather() override;
  void release() override;
  /// Of the whole unit, (layout.total), on the host, while it is gathered.
  const at::Tensor& whole() const { return whole_; }
  const at::Tensor& part(std::size_t member) const { return parts_[member]; }
  const UnitShards& unit() const { return *unit_; }

 private:
  std::shared_ptr<const UnitShards> unit_;
  at::TensorOptions options_;
  at::Tensor own_;                 // undefined where there are only parts
  std::vector<at::Tensor> parts_;  // of each member
  at::Tensor whole_;
  int holds_ = 0;
};

}  // namespace fabric::detail
