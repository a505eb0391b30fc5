// This rank's parts of a sharded model: what averages, norms and freezing look at without
// gathering.
#include <algorithm>

#include <ATen/ATen.h>

#include <accelerators/error.h>
#include <accelerators/ordinary_scope.h>
#include <strategies/flat/sharded_model.h>

namespace fabric {

std::vector<NamedTensor> ShardedModel::own_parts() {
  const std::lock_guard lock(mutex_);
  FABRIC_CHECK(Routing, full_holds_ == 0, "[fabric.fsdp] the shards of ", label_,
               " were asked for ",
               "while full_parameters holds the values elsewhere. Hint: end the scope of ",
               "full_parameters first.");
  check_parameters();
  std::vector<NamedTensor> parts;
  for (const auto& unit : units_) {
    parts.push_back({unit->flat.name(), unit->flat.shard()});
  }
  return parts;
}

void ShardedModel::own_parts_changed() {
  const std::lock_guard lock(mutex_);
  for (std::size_t u = 0; u < units_.size(); ++u) {
    take_update(u);
  }
  current_ = kNone;
}

std::vector<NamedTensor> ShardedModel::own_gradients() {
  const std::lock_guard lock(mutex_);
  check_parameters();
  const OrdinaryScope ordinary;
  std::vector<NamedTensor> parts;
  for (const auto& unit : units_) {
    unit->gradients.reshard();
    unit->gradients.reconcile();
    for (const ShardSegment& segment : unit->flat.segments()) {
      const at::Tensor& mean = segment.parameter.grad();
      for (const std::size_t member : segment.members) {
        NamedTensor part{unit->flat.members()[member].name, {}};
        if (mean.defined() && unit->gradients.present(member)) {
          const ShardLayout::Range range =
              unit->flat.layout().parameter_in_shard(parameter_ranks_.rank(), member);
          const std::int64_t begin = range.size == 0 ? 0 : range.begin - segment.range.begin;
          part.tensor = mean.narrow(0, begin, range.size);
        }
        parts.push_back(std::move(part));
      }
    }
  }
  return parts;
}

std::vector<std::shared_ptr<const UnitShards>> ShardedModel::unit_shards() {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<const UnitShards>> all;
  if (full_holds_ > 0) {
    return all;
  }
  check_parameters();
  for (const auto& unit : units_) {
    all.push_back(std::make_shared<UnitShards>(UnitShards{.name = unit->flat.name(),
                                                          .members = unit->flat.members(),
                                                          .layout = unit->flat.layout(),
                                                          .rank = parameter_ranks_.rank(),
                                                          .replica = replica_ranks_.rank(),
                                                          .replicas = replica_ranks_.size(),
                                                          .shard = unit->flat.shard(),
                                                          .ranks = parameter_ranks_}));
  }
  return all;
}

bool ShardedModel::holds_local_gradients() const {
  const std::lock_guard lock(mutex_);
  return accumulating_ || std::any_of(units_.begin(), units_.end(), [](const auto& unit) {
           unit->gradients.reconcile();
           return unit->gradients.pending();
         });
}

std::vector<OptimizedTensor::Part> ShardedModel::parts_of(const at::Tensor& tensor) const {
  const std::lock_guard lock(mutex_);
  std::vector<OptimizedTensor::Part> parts;
  const auto found = places_.find(tensor.unsafeGetTensorImpl());
  if (found == places_.end()) {
    return parts;
  }
  const FlatUnit& flat = units_[found->second.unit]->flat;
  const auto segment =
      std::find_if(flat.segments().begin(), flat.segments().end(),
                   [&](const ShardSegment& each) { return each.parameter.is_same(tensor); });
  if (segment == flat.segments().end()) {
    return parts;  // a parameter
  }
  for (const std::size_t member : segment->members) {
    const auto [begin, size, offset] =
        part_of_member(flat.layout(), parameter_ranks_.rank(), member);
    parts.push_back({.parameter = flat.members()[member].tensor,
                     .begin = begin,
                     .size = size,
                     .offset = size == 0 ? 0 : offset - segment->range.begin});
  }
  return parts;
}

}  // namespace fabric
