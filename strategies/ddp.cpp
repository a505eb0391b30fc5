#include <strategies/ddp.h>

#include <map>
#include <utility>

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/hash.h>

#include <accelerators/collectives/world.h>
#include <accelerators/error.h>

namespace fabric {
namespace {

// What all ranks must agree on before weights are sent: one number a tensor.
at::Tensor fingerprints(const ModelTensors& tensors) {
  std::vector<std::int64_t> values;
  for (const auto* list : {&tensors.parameters, &tensors.buffers}) {
    for (const NamedTensor& named : *list) {
      std::size_t hash = c10::get_hash(named.name, static_cast<int>(named.tensor.scalar_type()),
                                       named.tensor.requires_grad());
      for (const std::int64_t size : named.tensor.sizes()) {
        hash = c10::hash_combine(hash, static_cast<std::size_t>(size));
      }
      values.push_back(static_cast<std::int64_t>(hash >> 1));
    }
  }
  return at::tensor(values, at::kLong);
}

const NamedTensor& tensor_at(const ModelTensors& tensors, std::size_t index) {
  return index < tensors.parameters.size() ? tensors.parameters[index]
                                           : tensors.buffers[index - tensors.parameters.size()];
}

void check_same_model(const std::string& label, const ModelTensors& tensors,
                      const Communicator& communicator, c10::Device device) {
  const at::Tensor own = fingerprints(tensors);
  at::Tensor count = at::tensor({own.numel(), -own.numel()}, at::kLong).to(device);
  communicator.all_reduce(count, ReduceOp::max).wait();
  count = count.cpu();
  const std::int64_t most = count[0].item<std::int64_t>();
  const std::int64_t least = -count[1].item<std::int64_t>();
  FABRIC_CHECK(Communication, most == least, "[fabric.setup] ranks hold different models; got ",
               own.numel(), " parameters and buffers in ", label, " here, between ", least, " and ",
               most, " over all ranks. Hint: build the same model on every rank.");
  at::Tensor low = own.clone().to(device);
  at::Tensor high = own.clone().to(device);
  communicator.all_reduce(low, ReduceOp::min).wait();
  communicator.all_reduce(high, ReduceOp::max).wait();
  const at::Tensor differs = low.ne(high).nonzero().cpu();
  if (differs.numel() > 0) {
    const NamedTensor& named = tensor_at(tensors, differs[0][0].item<std::int64_t>());
    FABRIC_CHECK(Communication, false, "[fabric.setup] ranks hold different models; '", named.name,
                 "' of ", label, " is ", named.tensor.scalar_type(), " ", named.tensor.sizes(),
                 named.tensor.requires_grad() ? "" : " without gradient", " here and something ",
                 "else on another rank. Hint: build the same model on every rank.");
  }
}

}  // namespace

BufferBroadcast::BufferBroadcast(std::vector<at::Tensor> buffers) : buffers_(std::move(buffers)) {}

void BufferBroadcast::run(const Communicator& communicator, int source) const {
  if (buffers_.empty()) {
    return;
  }
  const at::NoGradGuard no_grad;
  const c10::InferenceMode ordinary(false);
  std::map<at::ScalarType, std::vector<at::Tensor>> groups;
  for (const at::Tensor& buffer : buffers_) {
    if (buffer.numel() > 0) {
      groups[buffer.scalar_type()].push_back(buffer);
    }
  }
  for (auto& [dtype, members] : groups) {
    // An alias with a version counter of its own.
    const auto alias = [](const at::Tensor& tensor) { return tensor.variable_data(); };
    if (members.size() == 1 && members.front().is_contiguous()) {
      communicator.broadcast(alias(members.front()), source).wait();
      continue;
    }
    std::vector<at::Tensor> parts;
    for (const at::Tensor& member : members) {
      parts.push_back(alias(member).reshape({-1}));
    }
    const at::Tensor flat = at::cat(parts);
    communicator.broadcast(flat, source).wait();
    if (communicator.rank() == source) {
      continue;
    }
    std::int64_t offset = 0;
    for (const at::Tensor& member : members) {
      alias(member).copy_(flat.narrow(0, offset, member.numel()).view(member.sizes()));
      offset += member.numel();
    }
  }
}

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
         .average = options.average});
  }

  void before_call(bool training, bool sync) override {
    if (!at::GradMode::is_enabled()) {
      return;
    }
    const std::int64_t rounds = sync_->events().rounds;
    if (std::exchange(rounds_seen_, rounds) != rounds) {
      called_ = false;  // a plain backward has used up the calls before it
    }
    called_ |= sync;
    sync_->set_local(!called_);
    sync_->check_parameters();
    if (!sync) {
      return;
    }
    if (training && broadcast_buffers_ && has_buffers_ && sync_->enabled()) {
      buffers_.run(communicator_, 0);
    }
  }

  bool wants_calls() const override { return sync_ != nullptr; }

  std::string missing_outside_call(bool training) const override {
    const bool sends = sync_ && training && broadcast_buffers_ && has_buffers_ && sync_->enabled();
    return sends ? "the buffers of rank 0" : "";
  }

  bool synchronises() const override { return sync_ != nullptr; }
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

void DDPStrategy::before_step() {
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
