#include <strategies/flat/sharded_model.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include <ATen/ATen.h>

#include <accelerators/collectives/world.h>
#include <accelerators/error.h>
#include <strategies/flat/parameter_use.h>
#include <strategies/write_announcement.h>

namespace fabric {
namespace {

// Phases of unshard orders that are no entry's.
constexpr UnshardOrder::Phase kOutsideCalls = 0x51afd7ed558ccd;
constexpr UnshardOrder::Phase kBackwardOf = 0x9e3779b97f4a7c15;

struct Groups {
  std::vector<int> shards;    // ranks that share the units
  std::vector<int> replicas;  // ranks that hold the same shards
};

Groups groups_of(int rank, int world, int replicas) {
  const int size = world / replicas;
  Groups groups;
  for (int i = 0; i < size; ++i) {
    groups.shards.push_back(rank / size * size + i);
  }
  for (int i = 0; i < replicas; ++i) {
    groups.replicas.push_back(rank % size + i * size);
  }
  return groups;
}

}  // namespace

std::shared_ptr<ShardedModel> ShardedModel::make(std::string label, std::vector<UnitPlan> plan,
                                                 const Communicator& everyone, c10::Device device,
                                                 ShardedModelOptions options) {
  std::shared_ptr<ShardedModel> model(new ShardedModel(std::move(label), device, options));
  for (UnitPlan& unit : plan) {
    // Where they are, which move_to_device = false leaves to the user; deferred ones go to
    // `device`.
    const at::Tensor& first = unit.parameters.front().tensor;
    const c10::Device place = first.is_meta() ? device : first.device();
    model->units_.push_back(std::make_unique<Unit>(std::move(unit), place, model->parameter_ranks_,
                                                   everyone, options.format));
    model->units_.back()->gradients.count_memory(model->gradient_memory_);
  }
  model->attach();
  return model;
}

ShardedModel::ShardedModel(std::string label, c10::Device device, ShardedModelOptions options)
    : label_(std::move(label)),
      options_(options),
      control_ranks_(make_communicator(label_ + " control", c10::Device(c10::kCPU))) {
  const auto [group, replicas] = groups_of(world().rank, world().size, options.replicas);
  parameter_ranks_ = make_communicator(label_ + " parameters", device, group);
  gradient_ranks_ = make_communicator(label_ + " gradients", device, group);
  replica_ranks_ = make_communicator(label_ + " replicas", device, replicas);
}

void ShardedModel::attach() {
  register_parameter_key();
  need_parameter_key_in_calls();
  const std::weak_ptr<ShardedModel> weak = weak_from_this();
  std::vector<std::int64_t> sizes;
  for (std::size_t u = 0; u < units_.size(); ++u) {
    Unit& unit = *units_[u];
    sizes.push_back(unit.flat.nbytes());
    StorageMap& map = StorageMap::instance();
    const auto number = [u](StorageKind kind) { return kStorageKinds * u + kind; };
    const TransientStorage& whole = unit.flat.whole();
    const TransientStorage& gradients = unit.gradients.whole();
    map.keep(whole.storage(), whole.parked(), weak, number(kParameters));
    map.keep(gradients.storage(), gradients.parked(), weak, number(kGradients));
    map.keep(storage_of(unit.flat.shard()), nullptr, weak, number(kShard));
    unit.cuts.assign(unit.flat.members().size(), 0);
    for (std::size_t m = 0; m < unit.flat.members().size(); ++m) {
      const at::Tensor& parameter = unit.flat.members()[m].tensor;
      const std::int64_t begin = unit.flat.layout().offsets[m];
      places_[parameter.unsafeGetTensorImpl()] = {u, {m}, begin, begin + parameter.numel()};
    }
    attach_hooks(u);
  }
  std::sort(sizes.rbegin(), sizes.rend());
  const auto kept = options_.keep_unsharded ? sizes.size() : std::min<std::size_t>(2, sizes.size());
  budget_ = std::accumulate(sizes.begin(), sizes.begin() + kept, std::int64_t{0});
}

void ShardedModel::attach_hooks(std::size_t index) {
  // Graphs keep accumulators alive, and with them the hooks: they must not keep this object.
  const std::weak_ptr<ShardedModel> weak = weak_from_this();
  Unit& unit = *units_[index];
  unit.filters.clear();
  unit.hooks.clear();
  for (std::size_t m = 0; m < unit.flat.members().size(); ++m) {
    const at::Tensor& parameter = unit.flat.members()[m].tensor;
    if (!parameter.is_floating_point()) {
      continue;
    }
    unit.filters.emplace_back(parameter, [weak, index, m](const at::Tensor& gradient) {
      if (auto self = weak.lock()) {
        self->before_accumulation(index, m);
      }
      return gradient;
    });
    unit.hooks.emplace_back(parameter, [weak, index, m] {
      if (auto self = weak.lock()) {
        self->on_gradient(index, m);
      }
    });
  }
}

ShardedModel::~ShardedModel() {
  for (const auto& unit : units_) {
    StorageMap& map = StorageMap::instance();
    map.forget_keeper(unit->flat.whole().storage(), unit->flat.whole().parked());
    map.forget_keeper(unit->gradients.whole().storage(), unit->gradients.whole().parked());
    map.forget_keeper(storage_of(unit->flat.shard()), nullptr);
  }
}

// ---- gathering ----------------------------------------------------------------------------------

void ShardedModel::before_call(std::uint64_t entry) {
  const std::lock_guard lock(mutex_);
  check_parameters();
  in_backward_ = false;
  current_ = kNone;
  order_.begin(entry);
}

void ShardedModel::check_parameters() {
  if (full_holds_ > 0) {
    return;  // they are elsewhere
  }
  for (std::size_t u = 0; u < units_.size(); ++u) {
    if (units_[u]->flat.readopt(label_)) {
      attach_hooks(u);  // autograd may have made new accumulators
      take_update(u);
    }
  }
}

void ShardedModel::acquire(std::size_t storage) {
  const std::lock_guard lock(mutex_);
  const std::size_t index = storage / kStorageKinds;
  Unit& unit = *units_[index];
  switch (storage % kStorageKinds) {
    case kShard:
      return;
    case kGradients:
      use_gradients(index);
      ++unit.gradient_pins;
      return;
    default:
      break;
  }
  if (unit.flat.updated()) {
    FABRIC_CHECK(Routing, current_backward() < 0, "[fabric.fsdp] backward reached unit '",
                 unit.flat.name(), "' of ", label_, ", whose parameters were updated after the ",
                 "forward that it belongs to. Hint: step the optimizer after all backwards of a ",
                 "forward, or run forward again.");
    take_update(index);
  }
  if (index != current_ || !unit.flat.unsharded()) {
    use(index);
  }
  ++unit.pins;
}

void ShardedModel::release(std::size_t storage) noexcept {
  const std::lock_guard lock(mutex_);
  Unit& unit = *units_[storage / kStorageKinds];
  if (storage % kStorageKinds == kParameters) {
    --unit.pins;
  } else if (storage % kStorageKinds == kGradients) {
    --unit.gradient_pins;
  }
}

// A write to a shard (an optimizer's, made past its handle) is one to the parameters whose parts
// lie there: those who listen to them hear of it.
void ShardedModel::before_write(std::size_t storage, std::int64_t begin, std::int64_t end,
                                const std::string& operator_name) {
  if (storage % kStorageKinds != kShard) {
    return;
  }
  const FlatUnit& flat = units_[storage / kStorageKinds]->flat;
  announce_late_write(
      detail::str(operator_name, " wrote to the shards of '", flat.name(), "' of ", label_));
  for (std::size_t m = 0; m < flat.members().size(); ++m) {
    const ShardLayout::Range part = flat.layout().parameter_in_shard(parameter_ranks_.rank(), m);
    if (part.begin < end && begin < part.begin + part.size) {
      const StorageFacts facts = StorageMap::instance().find(flat.members()[m].tensor, true);
      if (facts.listener) {
        facts.listener->before_write(facts.name, operator_name);
      }
    }
  }
}

void ShardedModel::written(std::size_t storage, std::int64_t begin, std::int64_t end) {
  const std::lock_guard lock(mutex_);
  Unit& unit = *units_[storage / kStorageKinds];
  switch (storage % kStorageKinds) {
    case kShard:
      unit.flat.mark_updated();
      break;
    case kGradients:
      unit.gradients.keep_written(begin, end);
      break;
    default:
      announce_write();
      unit.flat.keep_written(begin, end);
  }
}

void ShardedModel::hold_full() {
  const std::lock_guard lock(mutex_);
  check_parameters();
  if (full_holds_++ > 0) {
    return;
  }
  for (std::size_t u = 0; u < units_.size(); ++u) {
    if (units_[u]->flat.whole().allocated() && units_[u]->pins == 0) {
      reshard(u);
    }
    agree_on(EngineStep::gather, u, 0);
    units_[u]->flat.hold_whole(parameter_ranks_);
    attach_hooks(u);  // autograd makes new accumulators where the dtype has changed
  }
}

void ShardedModel::release_full() {
  const std::lock_guard lock(mutex_);
  if (--full_holds_ > 0) {
    return;
  }
  announce_write();
  for (std::size_t u = 0; u < units_.size(); ++u) {
    units_[u]->flat.release_whole();
    attach_hooks(u);
  }
  current_ = kNone;
}

void ShardedModel::replaced(std::size_t storage) {
  const std::lock_guard lock(mutex_);
  if (storage % kStorageKinds == kParameters) {
    check_parameters();
  }
}

void ShardedModel::use(std::size_t index) {
  const bool in_backward = current_backward() >= 0;
  if (in_backward != in_backward_) {
    in_backward_ = in_backward;
    order_.begin(in_backward ? order_.phase() ^ kBackwardOf : kOutsideCalls);
  }
  order_.use(index);
  current_ = index;
  const std::vector<std::size_t> ahead = plan_ahead(index);
  start_unshard(index);
  units_[index]->flat.finish_unshard();
  if (parameter_ranks_.asynchronous(units_[index]->flat.shard().device())) {
    const auto count = std::min<std::size_t>(ahead.size(), std::max(0, options_.prefetch));
    for (std::size_t i = 0; i < count; ++i) {
      const bool started = units_[ahead[i]]->flat.whole().allocated();
      start_unshard(ahead[i]);
      events_.prefetches += started ? 0 : 1;
    }
  }
}

// Frees what will not be used soon, and returns what will be, as far as the budget allows.
std::vector<std::size_t> ShardedModel::plan_ahead(std::size_t index) {
  std::vector<std::size_t> ahead;
  std::int64_t left = budget_ - units_[index]->flat.nbytes();
  units_[index]->keep = true;
  order_.upcoming([&](std::size_t next) {
    Unit& unit = *units_[next];
    if (unit.keep) {
      return true;
    }
    left -= unit.flat.nbytes();
    if (left < 0) {
      return false;
    }
    unit.keep = true;
    ahead.push_back(next);
    return true;
  });
  std::vector<std::size_t> unneeded;
  for (const std::size_t other : live_) {
    if (!options_.keep_unsharded && !units_[other]->keep && units_[other]->pins == 0) {
      unneeded.push_back(other);
    }
  }
  for (const std::size_t other : unneeded) {
    reshard(other);
  }
  units_[index]->keep = false;
  for (const std::size_t next : ahead) {
    units_[next]->keep = false;
  }
  return ahead;
}

void ShardedModel::start_unshard(std::size_t index) {
  Unit& unit = *units_[index];
  if (unit.flat.whole().allocated()) {
    return;
  }
  const Agreement agreement = agree_on(EngineStep::gather, index, completed_state());
  if (agreement.same_state && !agreement.any_at_end) {
    reduce_completed();
  }
  gather(index);
}

// Once all ranks have agreed on it.
void ShardedModel::gather(std::size_t index) {
  Unit& unit = *units_[index];
  unit.flat.start_unshard(parameter_ranks_);
  live_.push_back(index);
  ++events_.gathers;
  events_.bytes_live += unit.flat.nbytes();
  events_.bytes_peak = std::max(events_.bytes_peak, events_.bytes_live);
}

MemoryUse ShardedModel::memory() const {
  const std::lock_guard lock(mutex_);
  MemoryUse use;
  for (const auto& unit : units_) {
    use.parameters += static_cast<std::int64_t>(unit->flat.shard().nbytes());
    use.gradients += unit->gradients.nbytes();
  }
  use.unsharded_parameters = events_.bytes_peak;
  use.unsharded_gradients = gradient_memory_.peak;
  return use;
}

void ShardedModel::reshard(std::size_t index) {
  Unit& unit = *units_[index];
  unit.flat.reshard();
  std::erase(live_, index);
  events_.bytes_live -= unit.flat.nbytes();
}

void ShardedModel::take_update(std::size_t index) {
  if (units_[index]->flat.whole().allocated()) {
    reshard(index);
  }
  units_[index]->flat.take_update();
}

void ShardedModel::use_gradients(std::size_t index) {
  if (gradients_read_ != index && gradients_read_ != kNone &&
      units_[gradients_read_]->gradient_pins == 0) {
    units_[gradients_read_]->gradients.reshard();
  }
  gradients_read_ = index;
  Unit& unit = *units_[index];
  if (!unit.gradients.unsharded()) {
    agree_on(EngineStep::gather_gradients, index, 0);
    unit.gradients.unshard(parameter_ranks_);
  }
}

std::string ShardedModel::describe(const EngineStep& step) const {
  if (step.kind == EngineStep::end_of_backward) {
    return "has ended its backward";
  }
  const std::string name = step.unit < units_.size() ? units_[step.unit]->flat.name() : "?";
  return detail::str("gathers ", step.kind == EngineStep::gather ? "unit '" : "gradients of unit '",
                     name, "'");
}

Agreement ShardedModel::agree_on(EngineStep::Kind kind, std::size_t unit, std::int64_t state) {
  const EngineStep step{sequence_++, kind, unit};
  const Agreement agreement = agree(control_ranks_, step, state);
  const bool joins = agreement.all_at_end || kind != EngineStep::end_of_backward ||
                     agreement.other.kind == EngineStep::gather;
  FABRIC_CHECK(Communication, agreement.same_step && joins,
               "[fabric.fsdp] ranks use the parameters of ", label_,
               " in different orders: this rank ", describe(step), ", another rank ",
               describe(agreement.other), ". Every rank must run the same layers in the same ",
               "order. Hint: make branches depend on values that are equal on all ranks, and read ",
               "parameters on all ranks, not on one.");
  return agreement;
}

}  // namespace fabric
