#include <strategies/ddp.h>

#include <utility>

#include <ATen/core/grad_mode.h>

#include <accelerators/error.h>
#include <strategies/buffer_broadcast.h>
#include <strategies/same_model.h>

namespace fabric {

class DDPStrategy::Model final : public ManagedModel {
 public:
  Model(std::string label, ModelTensors tensors, const DDPOptions& options,
        Communicator communicator, c10::Device device)
      : communicator_(std::move(communicator)), broadcast_buffers_(options.broadcast_buffers) {
    if (communicator_.size() == 1) {
      return;
    }
    check_same_model(label, tensors, communicator_, device);
    std::vector<at::Tensor> everything;
    std::vector<at::Tensor> buffers;
    for (const NamedTensor& named : tensors.parameters) {
      everything.push_back(named.tensor);
    }
    for (const NamedTensor& named : tensors.buffers) {
      everything.push_back(named.tensor);
      buffers.push_back(named.tensor);
    }
    BufferBroadcast(everything).run(communicator_, 0);
    buffers_ = BufferBroadcast(buffers);
    has_buffers_ = !buffers.empty();
    sync_ = GradientSync::make(
        std::move(label), std::move(tensors.parameters), communicator_,
        {.bucket_bytes = static_cast<std::int64_t>(options.bucket_mb * (1 << 20)),
         .average = options.average,
         .reduce_dtype = dtype_of(options.reduce_dtype)});
  }

  void before_call(const CallInfo& call) override {
    if (!at::GradMode::is_enabled()) {
      return;
    }
    const std::int64_t rounds = sync_->events().rounds;
    if (std::exchange(rounds_seen_, rounds) != rounds) {
      called_ = false;  // a plain backward has used up the calls before it
    }
    called_ |= call.sync;
    sync_->set_local(!called_);
    sync_->check_parameters();
    if (!call.sync) {
      return;
    }
    if (call.training && broadcast_buffers_ && has_buffers_ && sync_->enabled()) {
      buffers_.run(communicator_, 0);
    }
  }

  bool wants_calls() const override { return sync_ != nullptr; }

  std::string missing_outside_call(bool training) const override {
    const bool sends = sync_ && training && broadcast_buffers_ && has_buffers_ && sync_->enabled();
    return sends ? "the buffers of rank 0" : "";
  }

  bool synchronises() const override { return sync_ != nullptr; }
  std::vector<std::int64_t> reduction_order() const override {
    return sync_ ? sync_->order() : std::vector<std::int64_t>();
  }
  void set_reduction_order(const std::vector<std::int64_t>& order) override {
    if (sync_) {
      sync_->set_order(order);
    }
  }
  bool holds_local_gradients() const override { return sync_ && sync_->holds_local(); }
  bool set_sync(bool enabled) override { return sync_ ? sync_->set_enabled(enabled) : true; }

  /// Opens a round on every rank for a model that was called with gradients since the last
  /// backward: some rank's loss may not reach it.
  void before_backward() {
    if (sync_) {
      if (std::exchange(called_, false) && sync_->enabled()) {
        sync_->open_round();  // looks at the parameters itself
      } else {
        sync_->check_parameters();
      }
    }
  }

  /// Closes what `before_backward` or a gradient opened.
  void after_backward() {
    if (sync_->round_open()) {
      sync_->finish_round();
    }
    sync_->set_local(false);
  }
  void abandon_backward() noexcept {
    sync_->abandon_round();
    sync_->set_local(false);
  }

  const std::shared_ptr<GradientSync>& sync() const { return sync_; }

 private:
  Communicator communicator_;
  bool broadcast_buffers_;
  bool has_buffers_ = false;
  bool called_ = false;  // by a synchronising call since the last backward
  std::int64_t rounds_seen_ = 0;
  BufferBroadcast buffers_;
  std::shared_ptr<GradientSync> sync_;
};

DDPStrategy::DDPStrategy(DDPOptions options, c10::Device device)
    : options_(options), device_(device) {
  FABRIC_CHECK(Misconfiguration, options.bucket_mb > 0, "[fabric.ddp] bucket_mb must be positive; ",
               "got ", options.bucket_mb, "; expected MiB, for example 25");
}

std::shared_ptr<ManagedModel> DDPStrategy::manage(std::string label, ModelTensors tensors) {
  Communicator communicator = make_communicator(label, device_);
  auto model = std::make_shared<Model>(std::move(label), std::move(tensors), options_,
                                       std::move(communicator), device_);
  models_.push_back(model);
  return model;
}

template <class Visit>
void DDPStrategy::for_each_model(Visit&& visit) {
  std::erase_if(models_, [](const std::weak_ptr<Model>& model) { return model.expired(); });
  for (const std::weak_ptr<Model>& weak : models_) {
    if (auto model = weak.lock(); model && model->sync()) {
      visit(*model);
    }
  }
}

void DDPStrategy::before_backward() {
  for_each_model([](Model& model) { model.before_backward(); });
}

void DDPStrategy::after_backward() {
  for_each_model([](Model& model) { model.after_backward(); });
}

void DDPStrategy::abandon_backward() noexcept {
  for_each_model([](Model& model) { model.abandon_backward(); });
}

void DDPStrategy::before_step(torch::optim::Optimizer& /*optimizer*/) {
  // The last moment to notice that autograd lost hooks since the last call (Module::to(dtype)).
  for_each_model([](Model& model) { model.sync()->check_parameters(); });
}

void DDPStrategy::set_sync(bool enabled) {
  for_each_model([enabled](Model& model) { model.sync()->set_accumulating(!enabled); });
}

const GradientSync* gradient_sync_of(const ManagedModel& model) {
  const auto* ddp = dynamic_cast<const DDPStrategy::Model*>(&model);
  return ddp ? ddp->sync().get() : nullptr;
}

}  // namespace fabric
