// Gradients of a sharded model: a round for each backward, in which units are reduced to shards.
#include <algorithm>
#include <utility>

#include <ATen/ATen.h>
#include <c10/util/hash.h>

#include <accelerators/ordinary_scope.h>
#include <strategies/explicit_backward.h>
#include <strategies/flat/sharded_model.h>

namespace fabric {
namespace {

std::int64_t as_state(std::size_t hash) {
  return static_cast<std::int64_t>(hash >> 2);
}

}  // namespace

void ShardedModel::ensure_round() {
  if (!round_open_) {
    start_round();
    if (!ExplicitBackward::any()) {
      BareRounds::add(shared_from_this());
    }
  }
}

void ShardedModel::open_round() {
  const std::lock_guard lock(mutex_);
  if (!round_open_) {
    start_round();
  }
}

void ShardedModel::start_round() {
  check_parameters();
  for (const auto& unit : units_) {
    unit->gradients.reshard();
    unit->gradients.reconcile();
  }
  gradients_read_ = kNone;
  completed_.clear();
  round_open_ = true;
}

void ShardedModel::before_accumulation(std::size_t unit, std::size_t member) {
  const std::lock_guard lock(mutex_);
  ensure_round();
  units_[unit]->gradients.before_accumulation(member);
}

void ShardedModel::on_gradient(std::size_t index, std::size_t member) {
  const std::lock_guard lock(mutex_);
  ensure_round();
  UnitGradients& gradients = units_[index]->gradients;
  const bool complete = gradients.complete();
  gradients.take(member);
  if (enabled() && !complete && gradients.complete()) {
    completed_.push_back(index);
  }
}

std::int64_t ShardedModel::completed_state() const {
  std::size_t hash = completed_.size();
  for (const std::size_t index : completed_) {
    hash = c10::hash_combine(hash, index);
  }
  return as_state(hash);
}

std::int64_t ShardedModel::pending_state() const {
  std::size_t hash = c10::get_hash(enabled());
  for (std::size_t u = 0; u < units_.size(); ++u) {
    const Unit& unit = *units_[u];
    for (std::size_t m = 0; m < unit.flat.members().size(); ++m) {
      if (unit.gradients.pending(m)) {
        hash = c10::hash_combine(hash, c10::get_hash(u, m));
      }
    }
  }
  return as_state(hash);
}

void ShardedModel::reduce(std::size_t index) {
  // One in flight: the memory of a unit's gradients is as large as the unit.
  for (const std::size_t other : std::exchange(reducing_, {})) {
    units_[other]->gradients.finish_reduce();
  }
  units_[index]->gradients.start_reduce(gradient_ranks_, replica_ranks_);
  reducing_.push_back(index);
  ++events_.reductions;
}

void ShardedModel::reduce_completed() {
  for (; !completed_.empty(); completed_.pop_front()) {
    reduce(completed_.front());
    ++events_.early_reductions;
  }
}

void ShardedModel::finish_round() {
  const std::lock_guard lock(mutex_);
  round_open_ = false;
  if (enabled()) {
    if (end_backward_together()) {
      for (std::size_t u = 0; u < units_.size(); ++u) {
        if (units_[u]->gradients.pending()) {
          reduce(u);
        }
      }
    } else {
      reduce_pending_anywhere();
    }
    for (const std::size_t other : std::exchange(reducing_, {})) {
      units_[other]->gradients.finish_reduce();
    }
    ++events_.rounds;
  }
  for (const auto& unit : units_) {
    unit->gradients.expect_as_now();
  }
  local_ = false;
  completed_.clear();
}

// Serves the ranks whose backward still gathers units, where this one's loss reached less; returns,
// when all have ended, whether they hold the same gradients.
bool ShardedModel::end_backward_together() {
  while (true) {
    const Agreement agreement = agree_on(EngineStep::end_of_backward, 0, pending_state());
    if (agreement.all_at_end) {
      return agreement.same_state;
    }
    const std::size_t index = agreement.other.unit;
    if (units_[index]->flat.whole().allocated()) {
      reshard(index);  // whole here and sharded there: they need this rank's part all the same
    }
    plan_ahead(index);
    gather(index);
    units_[index]->flat.finish_unshard();
  }
}

// Some rank's loss did not reach what another's did.
void ShardedModel::reduce_pending_anywhere() {
  std::vector<std::int32_t> flags;
  for (const auto& unit : units_) {
    for (std::size_t m = 0; m < unit->flat.members().size(); ++m) {
      flags.push_back(unit->gradients.pending(m) ? 1 : 0);
    }
  }
  const OrdinaryScope ordinary;
  const at::Tensor anywhere = at::tensor(flags, at::kInt);
  control_ranks_.all_reduce(anywhere, ReduceOp::max).wait();
  const auto* flag = anywhere.const_data_ptr<std::int32_t>();
  for (std::size_t u = 0; u < units_.size(); ++u) {
    Unit& unit = *units_[u];
    const std::size_t count = unit.flat.members().size();
    if (std::any_of(flag, flag + count, [](std::int32_t value) { return value > 0; })) {
      reduce(u);
      for (std::size_t m = 0; m < count; ++m) {
        if (flag[m] > 0) {
          unit.gradients.mark_present(m);
        }
      }
    }
    flag += count;
  }
}

void ShardedModel::abandon_round() noexcept {
  const std::lock_guard lock(mutex_);
  if (!std::exchange(round_open_, false)) {
    return;
  }
  for (const auto& unit : units_) {
    unit->gradients.abandon();
  }
  completed_.clear();
}

}  // namespace fabric
