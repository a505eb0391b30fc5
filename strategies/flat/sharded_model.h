// The engine of one sharded model: gathers units when their parameters are used, frees them, and
// reduces gradients to shards while backward runs.
//
// Everything hangs on the parameters: a use is an operator that takes one (StorageKeeper), a
// gradient is what autograd accumulates. All ranks must use units in the same order; each gather is
// agreed on first (Agreement), so that a rank that goes another way is an error everywhere.
//
// Reductions start where ranks agree that the same units are complete: the agreement of the next
// gather carries that, and the end of the backward reduces the rest.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include <accelerators/collectives/communicator.h>
#include <strategies/flat/agreement.h>
#include <strategies/flat/bare_rounds.h>
#include <strategies/flat/flat_unit.h>
#include <strategies/flat/gradient_hook.h>
#include <strategies/flat/storage_map.h>
#include <strategies/flat/unit_gradients.h>
#include <strategies/flat/unit_shards.h>
#include <strategies/flat/unshard_order.h>
#include <strategies/strategy.h>

namespace torch::optim {
class Optimizer;
class OptimizerParamGroup;
}  // namespace torch::optim

namespace fabric {

/// Parameters that are gathered and freed together.
struct UnitPlan {
  std::string name;  ///< what texts call it ("blocks.0")
  std::vector<NamedTensor> parameters;
};

struct ShardedModelOptions {
  /// How many units are gathered ahead of their use, where collectives run beside computation.
  int prefetch = 1;
  /// Into how many groups of consecutive ranks the world is divided, each with the whole model.
  int replicas = 1;
  /// Whether a gathered unit stays until an optimizer changes it.
  bool keep_unsharded = false;
  /// Whether gradients are reduced also while synchronisation is off.
  bool always_reduce = false;
  UnitFormat format{};
};

/// What happened so far, in numbers; tests and benchmarks read them.
struct ShardedModelEvents {
  std::int64_t gathers = 0;
  std::int64_t prefetches = 0;  ///< gathers started ahead of their use
  std::int64_t reductions = 0;
  std::int64_t early_reductions = 0;  ///< started while backward ran
  std::int64_t rounds = 0;            ///< backwards whose gradients were reduced
  std::int64_t bytes_live = 0;        ///< of unsharded parameters now
  std::int64_t bytes_peak = 0;
};

class ShardedModel final : public StorageKeeper,
                           public GradientRound,
                           public std::enable_shared_from_this<ShardedModel> {
 public:
  /// Takes the parameters over with rank 0's values. Collective.
  /// @param label what texts call the model
  /// @param everyone all ranks of the job
  static std::shared_ptr<ShardedModel> make(std::string label, std::vector<UnitPlan> plan,
                                            const Communicator& everyone, c10::Device device,
                                            ShardedModelOptions options);
  ~ShardedModel() override;

  /// A routed call begins.
  /// @param entry which entry it is: the order of use is recorded for each
  void before_call(std::uint64_t entry);
  /// Takes back what the user replaced, follows what the user zeroed.
  void check_parameters();

  /// Gathers all units and keeps them until `release_full`, which takes into the shards what was
  /// written meanwhile, by whatever means. May be nested. Collective.
  void hold_full();
  void release_full();

  // -- gradients ------------------------------------------------------------------------------

  bool set_enabled(bool enabled) { return std::exchange(enabled_, enabled); }
  void set_accumulating(bool accumulating) { accumulating_ = accumulating; }
  void set_local(bool local) { local_ = local; }
  bool enabled() const {
    return !local_ && (options_.always_reduce || (enabled_ && !accumulating_));
  }

  void open_round();
  bool round_open() const override { return round_open_; }
  void finish_round() override;
  void abandon_round() noexcept override;

  // -- optimizers -----------------------------------------------------------------------------

  /// Puts shards in the place of this model's parameters in the groups.
  /// @throws MisconfigurationError for an optimizer that cannot work on shards
  void adopt(torch::optim::Optimizer& optimizer);
  void before_step(torch::optim::Optimizer& optimizer);
  /// Shards have changed: the units are freed.
  void after_step(torch::optim::Optimizer& optimizer);
  /// Follows an optimizer's zero_grad.
  void after_zero_grad(torch::optim::Optimizer& optimizer, bool set_to_none);

  // -- this rank's parts ----------------------------------------------------------------------

  /// The shard of each unit, under its name.
  /// @throws RoutingError while parameters are held whole
  std::vector<NamedTensor> own_parts();
  /// The shards were written by others than an optimizer.
  void own_parts_changed();
  /// What this rank's shards hold of each parameter's mean gradient.
  std::vector<NamedTensor> own_gradients();
  /// How the shards are cut, for each of `own_parts`; none while parameters are held whole.
  std::vector<std::shared_ptr<const UnitShards>> unit_shards();
  /// Whether some parameter has a gradient that has not been reduced, or is accumulated in shards.
  bool holds_local_gradients() const;
  /// What a tensor that optimizers have in the place of parameters is made of; nothing if it is
  /// none of this model's.
  std::vector<OptimizedTensor::Part> parts_of(const at::Tensor& tensor) const;
  /// See Strategy::separate.
  void separate(torch::optim::Optimizer& optimizer,
                const std::function<int(const at::Tensor& parameter)>& kind);

  /// Whether a tensor is one of the parameters or of the tensors that optimizers have in their
  /// place.
  bool holds(const at::Tensor& parameter) const;
  /// Reduces `value` in place over the ranks that share the units. Collective.
  void reduce_over_shards(const at::Tensor& value, ReduceOp op) const;

  const ShardedModelEvents& events() const { return events_; }
  MemoryUse memory() const;
  const std::string& label() const { return label_; }
  std::size_t size() const { return units_.size(); }
  const FlatUnit& unit(std::size_t index) const { return units_[index]->flat; }

  // -- StorageKeeper --------------------------------------------------------------------------

  void acquire(std::size_t storage) override;
  void release(std::size_t storage) noexcept override;
  void written(std::size_t storage, std::int64_t begin, std::int64_t end) override;
  void replaced(std::size_t storage) override;

 private:
  // What a kept storage holds: storage number 3 u + kind.
  enum StorageKind { kParameters, kGradients, kShard, kStorageKinds };

  struct Unit {
    Unit(UnitPlan plan, c10::Device device, const Communicator& ranks, const Communicator& everyone,
         const UnitFormat& format)
        : flat(std::move(plan.name), std::move(plan.parameters), device, ranks, everyone, format),
          gradients(flat, ranks.rank(),
                    format.gradients.value_or(flat.whole().flat().scalar_type())) {}
    FlatUnit flat;
    UnitGradients gradients;
    std::vector<GradientHook> hooks;
    std::vector<GradientFilter> filters;
    std::vector<int> cuts;  // neighbours of one number share a segment
    int pins = 0;           // operators that use the parameters now
    int gradient_pins = 0;
    bool keep = false;  // for one look at what to free
  };

  ShardedModel(std::string label, c10::Device device, ShardedModelOptions options);
  void attach();
  void attach_hooks(std::size_t unit);

  void use(std::size_t index);
  void use_gradients(std::size_t index);
  void start_unshard(std::size_t index);
  void gather(std::size_t index);
  void reshard(std::size_t index);
  void take_update(std::size_t index);
  std::vector<std::size_t> plan_ahead(std::size_t index);
  Agreement agree_on(EngineStep::Kind kind, std::size_t unit, std::int64_t state);
  std::string describe(const EngineStep& step) const;

  void before_accumulation(std::size_t unit, std::size_t member);
  void on_gradient(std::size_t unit, std::size_t member);
  void ensure_round();
  void start_round();
  void reduce(std::size_t index);
  void reduce_completed();
  bool end_backward_together();
  void reduce_pending_anywhere();
  void repoint(torch::optim::Optimizer& optimizer);
  std::int64_t completed_state() const;
  std::int64_t pending_state() const;

  std::string label_;
  ShardedModelOptions options_;
  Communicator control_ranks_;    // all, for agreements
  Communicator parameter_ranks_;  // that share the units, for gathers
  Communicator gradient_ranks_;   // the same, for reductions
  Communicator replica_ranks_;    // that hold the same shards
  std::vector<std::unique_ptr<Unit>> units_;
  struct Place {
    std::size_t unit = 0;
    std::vector<std::size_t> members;  // one of the unit, or those of a segment
    std::int64_t begin = 0;            // what it covers of the flat storage
    std::int64_t end = 0;
  };
  std::unordered_map<const c10::TensorImpl*, Place> places_;  // of parameters and segments
  mutable std::recursive_mutex mutex_;

  UnshardOrder order_;
  std::vector<std::size_t> live_;  // units with memory
  std::size_t current_ = kNone;    // the unit of the last use
  bool in_backward_ = false;
  std::int64_t budget_ = 0;    // bytes of unsharded parameters
  std::int64_t sequence_ = 0;  // of agreements
  std::size_t gradients_read_ = kNone;

  std::deque<std::size_t> completed_;  // units whose gradients are complete, not yet reduced
  std::vector<std::size_t> reducing_;
  bool enabled_ = true;
  bool accumulating_ = false;
  bool local_ = false;
  bool local_ends_ = false;
  bool round_open_ = false;
  int next_cut_ = 1;
  int full_holds_ = 0;
  ShardedModelEvents events_;
  MemoryCount gradient_memory_;

  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);
};

}  // namespace fabric
