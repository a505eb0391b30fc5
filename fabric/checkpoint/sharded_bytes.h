// Bytes of tensors that are cut over ranks like the parameters of a unit.
#pragma once

#include <functional>
#include <memory>

#include <ATen/core/Tensor.h>

#include <fabric/checkpoint/stored_tensor.h>
#include <strategies/flat/unit_shards.h>

namespace fabric::detail {

/// Numbers of one unit: its weights, or one tensor of an optimizer's state for all its members.
/// Gathered, every rank of the unit has all of them.
class ShardedUnitBytes final : public GatherGroup {
 public:
  /// @param own gives this rank's numbers, (layout.shard), when they are gathered
  ShardedUnitBytes(std::shared_ptr<const UnitShards> unit, std::function<at::Tensor()> own);

  /// A member as a whole. @param self this, as its owner holds it
  StoredTensor member(const std::shared_ptr<ShardedUnitBytes>& self, std::size_t index) const;
  /// The same with another dtype than that of the shards.
  StoredTensor member(const std::shared_ptr<ShardedUnitBytes>& self, std::size_t index,
                      at::ScalarType dtype) const;

  void gather() override;
  void release() override;
  /// Of the whole unit, (layout.total), on the host.
  const at::Tensor& whole() const { return whole_; }
  const UnitShards& unit() const { return *unit_; }

 private:
  std::shared_ptr<const UnitShards> unit_;
  std::function<at::Tensor()> own_;
  at::Tensor whole_;
  int holds_ = 0;
};

}  // namespace fabric::detail
