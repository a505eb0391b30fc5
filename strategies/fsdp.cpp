#include <strategies/fsdp.h>

#include <algorithm>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <accelerators/collectives/world.h>
#include <accelerators/error.h>
#include <strategies/buffer_broadcast.h>
#include <strategies/precision/precision.h>
#include <strategies/same_model.h>
#include <strategies/unit_plan.h>

namespace fabric {

namespace {

int replicas_of(const FSDPOptions& options) {
  const World& here = world();
  const bool whole = options.sharding.is("none");
  const int implied = whole ? here.size : options.sharding.is("hybrid") ? here.num_nodes : 1;
  const int replicas = options.replicas == 0 ? implied : options.replicas;
  FABRIC_CHECK(
      Misconfiguration,
      replicas > 0 && here.size % replicas == 0 && (!whole || replicas == here.size),
      "[fabric.fsdp] the world cannot be divided into groups of equal size, each with the ",
      "whole model; got replicas=", replicas, " with sharding=", options.sharding.name(), " and ",
      here.size, " processes; expected ",
      whole ? "as many replicas as processes" : "a divisor of the number of processes",
      ". Hint: leave replicas out for what the sharding implies.");
  return replicas;
}

ShardedModelOptions engine_options(const FSDPOptions& options, int replicas) {
  return {.prefetch = options.prefetch,
          .replicas = replicas,
          .keep_unsharded = options.sharding.is("grad_op") || options.sharding.is("none"),
          .always_reduce = options.accumulation.is("sharded"),
          .format = {.parameters = dtype_of(options.param_dtype),
                     .gradients = dtype_of(options.reduce_dtype),
                     .shard_on_host = options.cpu_offload}};
}

}  // namespace

class FSDPStrategy::Model final : public ManagedModel {
 public:
  Model(std::string label, const ModelTensors& tensors, const FSDPOptions& options, int replicas,
        c10::Device device)
      : options_(options), buffer_ranks_(make_communicator(label + " buffers", device)) {
    if (!buffer_ranks_.alone()) {
      check_same_model(label, tensors, buffer_ranks_, device);
    }
    std::vector<at::Tensor> buffers;
    for (const NamedTensor& named : tensors.buffers) {
      if (const auto dtype = dtype_of(options.buffer_dtype)) {
        convert_floating(named.tensor, *dtype);
      }
      buffers.push_back(named.tensor);
    }
    buffers_ = BufferBroadcast(buffers);
    buffers_.run(buffer_ranks_, 0);
    has_buffers_ = !buffers.empty();
    std::vector<UnitPlan> plan = plan_units(label, tensors, options.units);
    if (!plan.empty()) {
      engine_ = ShardedModel::make(std::move(label), std::move(plan), buffer_ranks_, device,
                                   engine_options(options, replicas));
    }
  }

  void before_call(const CallInfo& call) override {
    if (engine_) {
      engine_->before_call(call.entry);
    }
    if (!at::GradMode::is_enabled()) {
      return;
    }
    const std::int64_t rounds = engine_ ? engine_->events().rounds : 0;
    if (std::exchange(rounds_seen_, rounds) != rounds) {
      called_ = false;  // a plain backward has used up the calls before it
    }
    called_ |= call.sync;
    if (engine_) {
      engine_->set_local(!called_);
    }
    if (call.sync && sends_buffers(call.training)) {
      buffers_.run(buffer_ranks_, 0);
    }
  }

  bool wants_calls() const override { return true; }

  std::string missing_outside_call(bool training) const override {
    std::string missing = sends_buffers(training) ? "the buffers of rank 0" : "";
    if (input_dtype()) {
      missing += detail::str(missing.empty() ? "" : " and ", "the conversion of inputs to ",
                             *input_dtype());
    }
    return missing;
  }

  std::optional<at::ScalarType> input_dtype() const override {
    return dtype_of(options_.param_dtype);
  }
  std::optional<at::ScalarType> output_dtype() const override {
    return dtype_of(options_.output_dtype);
  }

  bool synchronises() const override { return engine_ && !buffer_ranks_.alone(); }
  bool set_sync(bool enabled) override { return engine_ ? engine_->set_enabled(enabled) : true; }

  std::optional<MemoryUse> memory() const override {
    return engine_ ? std::optional(engine_->memory()) : std::nullopt;
  }

  void hold_full() override {
    if (engine_) {
      engine_->hold_full();
    }
  }
  void release_full() override {
    if (engine_) {
      engine_->release_full();
    }
  }

  std::optional<std::vector<NamedTensor>> own_parts() override {
    return engine_ ? std::optional(engine_->own_parts()) : std::nullopt;
  }
  void own_parts_changed() override {
    if (engine_) {
      engine_->own_parts_changed();
    }
  }
  std::vector<std::shared_ptr<const UnitShards>> unit_shards() override {
    return engine_ ? engine_->unit_shards() : std::vector<std::shared_ptr<const UnitShards>>();
  }
  bool holds_local_gradients() const override {
    return engine_ && engine_->holds_local_gradients();
  }
  std::optional<std::vector<NamedTensor>> own_gradients() override {
    return engine_ ? std::optional(engine_->own_gradients()) : std::nullopt;
  }

  void before_backward() {
    if (std::exchange(called_, false) && engine_->enabled()) {
      engine_->open_round();
    }
  }

  const std::shared_ptr<ShardedModel>& engine() const { return engine_; }

 private:
  bool sends_buffers(bool training) const {
    return training && options_.broadcast_buffers && has_buffers_ && !buffer_ranks_.alone() &&
           (!engine_ || engine_->enabled());
  }

  FSDPOptions options_;
  Communicator buffer_ranks_;  // all
  bool has_buffers_ = false;
  bool called_ = false;  // by a synchronising call since the last backward
  std::int64_t rounds_seen_ = 0;
  BufferBroadcast buffers_;
  std::shared_ptr<ShardedModel> engine_;  // null for a model without parameters
};

FSDPStrategy::FSDPStrategy(FSDPOptions options, c10::Device device)
    : options_(options), replicas_(replicas_of(options)), device_(device) {
  FABRIC_CHECK(Misconfiguration, options.prefetch >= 0, "[fabric.fsdp] prefetch must not be ",
               "negative; got ", options.prefetch, "; expected how many units are gathered ahead, ",
               "for example 1");
}

std::shared_ptr<ManagedModel> FSDPStrategy::manage(std::string label, ModelTensors tensors) {
  auto model = std::make_shared<Model>(std::move(label), tensors, options_, replicas_, device_);
  models_.push_back(model);
  return model;
}

template <class Visit>
void FSDPStrategy::for_each_model(Visit&& visit) {
  std::erase_if(models_, [](const std::weak_ptr<Model>& model) { return model.expired(); });
  for (const std::weak_ptr<Model>& weak : models_) {
    if (auto model = weak.lock(); model && model->engine()) {
      visit(*model);
    }
  }
}

void FSDPStrategy::adopt(torch::optim::Optimizer& optimizer) {
  const auto groups = groups_of(optimizer);
  std::erase_if(given_, [](const auto& item) {  // of optimizers whose models are gone
    return std::any_of(item.second.begin(), item.second.end(),
                       [](const auto& group) { return !group.empty() && group.front().expired(); });
  });
  GivenGroups& given = given_[&optimizer];
  given.clear();
  for (const std::vector<at::Tensor>& group : groups) {
    auto& parameters = given.emplace_back();
    for (const at::Tensor& parameter : group) {
      parameters.emplace_back(parameter.getIntrusivePtr());
    }
  }
  for_each_model([&](Model& model) { model.engine()->adopt(optimizer); });
}

void FSDPStrategy::before_backward() {
  for_each_model([](Model& model) { model.before_backward(); });
}

void FSDPStrategy::after_backward() {
  for_each_model([](Model& model) {
    if (model.engine()->round_open()) {
      model.engine()->finish_round();
    }
    model.engine()->set_local(false);
  });
}

void FSDPStrategy::abandon_backward() noexcept {
  for_each_model([](Model& model) { model.engine()->abandon_round(); });
}

void FSDPStrategy::before_step(torch::optim::Optimizer& optimizer) {
  for_each_model([&](Model& model) { model.engine()->before_step(optimizer); });
}

void FSDPStrategy::after_step(torch::optim::Optimizer& optimizer) {
  for_each_model([&](Model& model) { model.engine()->after_step(optimizer); });
}

void FSDPStrategy::after_zero_grad(torch::optim::Optimizer& optimizer, bool set_to_none) {
  for_each_model([&](Model& model) { model.engine()->after_zero_grad(optimizer, set_to_none); });
}

// An optimizer may have died and another one may lie at its address: what it was given counts only
// while its groups hold shards.
std::vector<std::vector<at::Tensor>> FSDPStrategy::groups_of(
    const torch::optim::Optimizer& optimizer) const {
  std::vector<std::vector<at::Tensor>> groups = Strategy::groups_of(optimizer);
  const auto given = given_.find(&optimizer);
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const bool sharded = std::any_of(groups[g].begin(), groups[g].end(),
                                     [this](const at::Tensor& each) { return is_segment(each); });
    if (sharded && given != given_.end() && g < given->second.size()) {
      groups[g].clear();
      for (const auto& weak : given->second[g]) {
        if (auto parameter = weak.lock()) {
          groups[g].emplace_back(std::move(parameter));
        }
      }
    }
  }
  return groups;
}

std::vector<OptimizedTensor> FSDPStrategy::optimized_tensors(
    const torch::optim::Optimizer& optimizer) const {
  std::vector<OptimizedTensor> tensors = Strategy::optimized_tensors(optimizer);
  for (OptimizedTensor& each : tensors) {
    for (const std::weak_ptr<Model>& weak : models_) {
      const auto model = weak.lock();
      if (model && model->engine()) {
        auto parts = model->engine()->parts_of(each.tensor);
        each.parts = parts.empty() ? std::move(each.parts) : std::move(parts);
      }
    }
  }
  return tensors;
}

void FSDPStrategy::separate(torch::optim::Optimizer& optimizer,
                            const std::function<int(const at::Tensor&)>& kind) {
  for_each_model([&](Model& model) { model.engine()->separate(optimizer, kind); });
}

bool FSDPStrategy::is_segment(const at::Tensor& tensor) const {
  return std::any_of(models_.begin(), models_.end(), [&](const std::weak_ptr<Model>& weak) {
    const auto model = weak.lock();
    return model && model->engine() && !model->engine()->parts_of(tensor).empty();
  });
}

bool FSDPStrategy::is_shard(const at::Tensor& parameter) const {
  return std::any_of(models_.begin(), models_.end(), [&](const std::weak_ptr<Model>& weak) {
    const auto model = weak.lock();
    return model && model->engine() && model->engine()->holds(parameter);
  });
}

void FSDPStrategy::reduce_over_shards(const at::Tensor& value, ReduceOp op) {
  bool done = false;  // the groups of all models are the same
  for_each_model([&](Model& model) {
    if (!std::exchange(done, true)) {
      model.engine()->reduce_over_shards(value, op);
    }
  });
}

void FSDPStrategy::set_sync(bool enabled) {
  for_each_model([enabled](Model& model) { model.engine()->set_accumulating(!enabled); });
}

const ShardedModel* sharded_model_of(const ManagedModel& model) {
  const auto* fsdp = dynamic_cast<const FSDPStrategy::Model*>(&model);
  return fsdp ? fsdp->engine().get() : nullptr;
}

}  // namespace fabric
