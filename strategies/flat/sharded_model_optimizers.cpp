// How optimizers work on the shards of a model.
#include <algorithm>
#include <map>
#include <set>

#include <torch/optim/optimizer.h>

#include <accelerators/error.h>
#include <accelerators/ordinary_scope.h>
#include <strategies/flat/optimizer_state.h>
#include <strategies/flat/sharded_model.h>

namespace fabric {

void ShardedModel::adopt(torch::optim::Optimizer& optimizer) {
  const std::lock_guard lock(mutex_);
  bool ours = false;
  for (const auto& group : optimizer.param_groups()) {
    const int cut = next_cut_;
    std::map<const c10::TensorImpl*, int> times;
    for (const at::Tensor& parameter : group.params()) {
      const auto found = places_.find(parameter.unsafeGetTensorImpl());
      if (found != places_.end()) {
        ours = true;
        // Frozen parameters have no gradient, and an optimizer leaves them alone: weight decay and
        // momentum included. One that is listed twice is stepped twice.
        const int again = times[parameter.unsafeGetTensorImpl()]++;
        const int own_cut = cut + 2 * again + (parameter.requires_grad() ? 0 : 1);
        for (const std::size_t member : found->second.members) {
          units_[found->second.unit]->cuts[member] = own_cut;
        }
        next_cut_ = std::max(next_cut_, cut + 2 * again + 2);
      }
    }
  }
  if (!ours) {
    return;
  }
  FABRIC_CHECK(Misconfiguration, is_elementwise(optimizer), "[fabric.setup_optimizers] this ",
               "optimizer cannot work on shards of ", label_, ": it looks at whole parameters or ",
               "at all of them together; got ", c10::demangle(typeid(optimizer).name()),
               "; expected SGD, Adam, AdamW, RMSprop or Adagrad, of LibTorch or fused, or a class ",
               "derived from fabric::ElementwiseOptimizer. Hint: use one of them, or strategy "
               "\"ddp\", where every rank has the whole model.");
  repoint(optimizer);
}

// Cuts the units of an optimizer anew and puts the segments into its groups, with their state.
void ShardedModel::repoint(torch::optim::Optimizer& optimizer) {
  struct Covered {
    std::map<std::size_t, int> members;  // and how often the group lists each
    std::vector<PlacedState> states;
  };
  std::set<std::size_t> units;
  std::vector<std::map<std::size_t, Covered>> covered(optimizer.param_groups().size());
  auto before = std::move(optimizer.state());
  for (std::size_t g = 0; g < covered.size(); ++g) {
    for (const at::Tensor& parameter : optimizer.param_groups()[g].params()) {
      const auto found = places_.find(parameter.unsafeGetTensorImpl());
      if (found == places_.end()) {
        continue;
      }
      const Place& place = found->second;
      units.insert(place.unit);
      Covered& here = covered[g][place.unit];
      for (const std::size_t member : place.members) {
        ++here.members[member];
      }
      const auto state = before.find(parameter.unsafeGetTensorImpl());
      if (state != before.end()) {
        here.states.push_back({place.begin, place.end, state->second.get()});
      }
    }
  }
  std::set<const c10::TensorImpl*> replaced;
  for (const std::size_t u : units) {
    FlatUnit& flat = units_[u]->flat;
    for (const ShardSegment& segment : flat.segments()) {
      replaced.insert(segment.parameter.unsafeGetTensorImpl());
    }
    flat.cut_segments(units_[u]->cuts);
    units_[u]->gradients.distribute();
    for (const ShardSegment& segment : flat.segments()) {
      const std::int64_t first = parameter_ranks_.rank() * flat.layout().shard;
      Place place{u, segment.members, first + segment.range.begin, 0};
      if (segment.range.size == 0) {
        place.begin = flat.layout().offsets[segment.members.front()];
      }
      place.end = place.begin + segment.range.size;
      places_[segment.parameter.unsafeGetTensorImpl()] = std::move(place);
      replaced.erase(segment.parameter.unsafeGetTensorImpl());
    }
  }
  auto& after = optimizer.state();
  after.clear();
  for (std::size_t g = 0; g < covered.size(); ++g) {
    std::vector<at::Tensor> parameters;
    std::set<std::size_t> done;
    for (const at::Tensor& parameter : optimizer.param_groups()[g].params()) {
      const auto found = places_.find(parameter.unsafeGetTensorImpl());
      if (found == places_.end()) {
        parameters.push_back(parameter);
        continue;
      }
      const std::size_t u = found->second.unit;
      if (!done.insert(u).second) {
        continue;
      }
      const Covered& here = covered[g].at(u);
      for (const ShardSegment& segment : units_[u]->flat.segments()) {
        const auto listed = here.members.find(segment.members.front());
        if (listed == here.members.end()) {
          continue;
        }
        parameters.insert(parameters.end(), listed->second, segment.parameter);
        const Place& place = places_.at(segment.parameter.unsafeGetTensorImpl());
        if (before.find(segment.parameter.unsafeGetTensorImpl()) != before.end()) {
          continue;  // as it was: moved below
        }
        if (auto state = cut_state(here.states, place.begin, place.end)) {
          after[segment.parameter.unsafeGetTensorImpl()] = std::move(state);
        }
      }
    }
    optimizer.param_groups()[g].params() = std::move(parameters);
  }
  for (const auto& group : optimizer.param_groups()) {
    for (const at::Tensor& parameter : group.params()) {
      const auto state = before.find(parameter.unsafeGetTensorImpl());
      if (state != before.end()) {
        after[parameter.unsafeGetTensorImpl()] = std::move(state->second);
      }
    }
  }
  for (const c10::TensorImpl* segment : replaced) {
    places_.erase(segment);
  }
}

void ShardedModel::separate(torch::optim::Optimizer& optimizer,
                            const std::function<int(const at::Tensor& parameter)>& kind) {
  const std::lock_guard lock(mutex_);
  std::map<std::pair<int, int>, int> numbers;  // of what was apart already, and now is by its kind
  bool mixed = false;
  for (const auto& group : optimizer.param_groups()) {
    for (const at::Tensor& tensor : group.params()) {
      std::set<int> kinds;
      for (const OptimizedTensor::Part& part : parts_of(tensor)) {
        const Place& place = places_.at(part.parameter.unsafeGetTensorImpl());
        int& cut = units_[place.unit]->cuts[place.members.front()];
        const int own = kind(part.parameter);
        const auto [number, fresh] = numbers.try_emplace({cut, own}, next_cut_);
        next_cut_ += fresh ? 1 : 0;
        cut = number->second;
        kinds.insert(own);
      }
      mixed |= kinds.size() > 1;
    }
  }
  if (mixed) {
    repoint(optimizer);
  }
}

void ShardedModel::before_step(torch::optim::Optimizer& optimizer) {
  const std::lock_guard lock(mutex_);
  FABRIC_CHECK(Routing, full_holds_ == 0, "[fabric.optimizer] a step while full_parameters holds ",
               "the whole parameters of ", label_, ", which would lose it. Hint: end the scope of ",
               "full_parameters first.");
  check_parameters();
  for (const auto& unit : units_) {
    unit->gradients.reshard();
    unit->gradients.reconcile();
  }
  // A parameter without a gradient is left alone by an optimizer, momentum and weight decay
  // included: it must not share a segment with those that have one.
  bool mixed = false;
  for (const auto& group : optimizer.param_groups()) {
    for (const at::Tensor& parameter : group.params()) {
      const auto found = places_.find(parameter.unsafeGetTensorImpl());
      if (found == places_.end()) {
        continue;
      }
      Unit& unit = *units_[found->second.unit];
      const std::vector<std::size_t>& members = found->second.members;
      const auto present = std::count_if(members.begin(), members.end(), [&](std::size_t member) {
        return unit.gradients.present(member);
      });
      if (present > 0 && present < static_cast<std::ptrdiff_t>(members.size())) {
        mixed = true;
        for (const std::size_t member : members) {
          unit.cuts[member] = next_cut_ + (unit.gradients.present(member) ? 0 : 1);
        }
        next_cut_ += 2;
      }
    }
  }
  if (mixed) {
    repoint(optimizer);
  }
}

void ShardedModel::after_step(torch::optim::Optimizer& optimizer) {
  const std::lock_guard lock(mutex_);
  for (const auto& group : optimizer.param_groups()) {
    for (const at::Tensor& parameter : group.params()) {
      const auto found = places_.find(parameter.unsafeGetTensorImpl());
      if (found != places_.end() && parameter.grad().defined()) {
        units_[found->second.unit]->flat.mark_updated();
      }
    }
  }
  for (std::size_t u = 0; u < units_.size(); ++u) {
    if (units_[u]->flat.updated()) {
      take_update(u);
    }
  }
  current_ = kNone;
}

bool ShardedModel::holds(const at::Tensor& parameter) const {
  const std::lock_guard lock(mutex_);
  return places_.contains(parameter.unsafeGetTensorImpl());
}

void ShardedModel::reduce_over_shards(const at::Tensor& value, ReduceOp op) const {
  const OrdinaryScope ordinary;
  gradient_ranks_.all_reduce(value, op).wait();
}

void ShardedModel::after_zero_grad(torch::optim::Optimizer& optimizer, bool set_to_none) {
  const std::lock_guard lock(mutex_);
  for (const auto& group : optimizer.param_groups()) {
    for (const at::Tensor& parameter : group.params()) {
      const auto found = places_.find(parameter.unsafeGetTensorImpl());
      if (found != places_.end()) {
        Unit& unit = *units_[found->second.unit];
        for (const ShardSegment& segment : unit.flat.segments()) {
          if (segment.parameter.is_same(parameter)) {
            unit.gradients.zero(segment, set_to_none);
          }
        }
      }
    }
  }
}

}  // namespace fabric
