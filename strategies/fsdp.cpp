#include <strategies/fsdp.h>

#include <utility>

#include <ATen/core/grad_mode.h>

#include <accelerators/error.h>
#include <strategies/buffer_broadcast.h>
#include <strategies/same_model.h>
#include <strategies/unit_plan.h>

namespace fabric {

class FSDPStrategy::Model final : public ManagedModel {
 public:
  Model(std::string label, const ModelTensors& tensors, const FSDPOptions& options,
        c10::Device device)
      : buffer_ranks_(make_communicator(label + " buffers", device)),
        broadcast_buffers_(options.broadcast_buffers) {
    if (buffer_ranks_.size() > 1) {
      check_same_model(label, tensors, buffer_ranks_, device);
    }
    std::vector<at::Tensor> buffers;
    for (const NamedTensor& named : tensors.buffers) {
      buffers.push_back(named.tensor);
    }
    buffers_ = BufferBroadcast(buffers);
    buffers_.run(buffer_ranks_, 0);
    has_buffers_ = !buffers.empty();
    std::vector<UnitPlan> plan = plan_units(label, tensors, options.units);
    if (!plan.empty()) {
      engine_ = ShardedModel::make(std::move(label), std::move(plan), device,
                                   {.prefetch = options.prefetch});
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
    return sends_buffers(training) ? "the buffers of rank 0" : "";
  }

  bool synchronises() const override { return engine_ && buffer_ranks_.size() > 1; }
  bool set_sync(bool enabled) override { return engine_ ? engine_->set_enabled(enabled) : true; }

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

  void before_backward() {
    if (std::exchange(called_, false) && engine_->enabled()) {
      engine_->open_round();
    }
  }

  const std::shared_ptr<ShardedModel>& engine() const { return engine_; }

 private:
  bool sends_buffers(bool training) const {
    return training && broadcast_buffers_ && has_buffers_ && buffer_ranks_.size() > 1 &&
           (!engine_ || engine_->enabled());
  }

  Communicator buffer_ranks_;
  bool broadcast_buffers_;
  bool has_buffers_ = false;
  bool called_ = false;  // by a synchronising call since the last backward
  std::int64_t rounds_seen_ = 0;
  BufferBroadcast buffers_;
  std::shared_ptr<ShardedModel> engine_;  // null for a model without parameters
};

FSDPStrategy::FSDPStrategy(FSDPOptions options, c10::Device device)
    : options_(options), device_(device) {
  FABRIC_CHECK(Misconfiguration, options.prefetch >= 0, "[fabric.fsdp] prefetch must not be ",
               "negative; got ", options.prefetch, "; expected how many units are gathered ahead, ",
               "for example 1");
}

std::shared_ptr<ManagedModel> FSDPStrategy::manage(std::string label, ModelTensors tensors) {
  auto model = std::make_shared<Model>(std::move(label), tensors, options_, device_);
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

void FSDPStrategy::set_sync(bool enabled) {
  for_each_model([enabled](Model& model) { model.engine()->set_accumulating(!enabled); });
}

const ShardedModel* sharded_model_of(const ManagedModel& model) {
  const auto* fsdp = dynamic_cast<const FSDPStrategy::Model*>(&model);
  return fsdp ? fsdp->engine().get() : nullptr;
}

}  // namespace fabric
