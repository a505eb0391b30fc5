#include <strategies/flat/gradient_sync.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <utility>

#include <ATen/ATen.h>

#include <accelerators/error.h>
#include <accelerators/ordinary_scope.h>
#include <strategies/backward_collective.h>
#include <strategies/explicit_backward.h>

namespace fabric {
namespace {

std::atomic<int> live_models{0};

}  // namespace

std::shared_ptr<GradientSync> GradientSync::make(std::string label,
                                                 std::vector<NamedTensor> parameters,
                                                 Communicator communicator,
                                                 GradientSyncOptions options) {
  std::shared_ptr<GradientSync> sync(
      new GradientSync(std::move(label), std::move(parameters), std::move(communicator), options));
  for (std::size_t i = 0; i < sync->parameters_.size(); ++i) {
    sync->attach(i);
  }
  return sync;
}

GradientSync::GradientSync(std::string label, std::vector<NamedTensor> parameters,
                           Communicator communicator, GradientSyncOptions options)
    : label_(std::move(label)),
      communicator_(std::move(communicator)),
      options_(options),
      device_(parameters.empty() ? c10::Device(c10::kCPU) : parameters.front().tensor.device()) {
  for (NamedTensor& named : parameters) {
    const bool differentiable = at::isFloatingType(named.tensor.scalar_type());
    if (differentiable) {
      Parameter& parameter = parameters_.emplace_back();
      parameter.name = std::move(named.name);
      parameter.tensor = std::move(named.tensor);
    }
  }
  if (!options_.average) {
    for (Parameter& parameter : parameters_) {
      parameter.factor = GradientFilter(
          parameter.tensor,
          [world = communicator_.size()](const at::Tensor& gradient) { return gradient * world; });
    }
  }
  ++live_models;
}

GradientSync::~GradientSync() {
  --live_models;
}

void GradientSync::attach(std::size_t index) {
  // Graphs keep accumulators alive, and with them the hook: it must not keep this object.
  std::weak_ptr<GradientSync> weak = weak_from_this();
  parameters_[index].hook = GradientHook(parameters_[index].tensor, [weak, index] {
    if (auto self = weak.lock()) {
      self->on_gradient(index);
    }
  });
}

bool GradientSync::set_enabled(bool enabled) {
  return std::exchange(enabled_, enabled);
}

void GradientSync::check_parameters() {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    Parameter& parameter = parameters_[i];
    FABRIC_CHECK(Routing, parameter.tensor.device() == device_, "[fabric.ddp] parameter '",
                 parameter.name, "' of ", label_, " left its device after setup; got ",
                 parameter.tensor.device(), "; expected ", device_,
                 ". Hint: move the model before fabric.setup, or set up a new one.");
    if (!parameter.hook.attached(parameter.tensor)) {
      attach(i);
      layout_stale_ = true;
    }
    layout_stale_ |= parameter.trainable != parameter.tensor.requires_grad() ||
                     parameter.dtype != parameter.tensor.scalar_type();
  }
}

void GradientSync::on_gradient(std::size_t index) {
  Parameter& parameter = parameters_[index];
  if (!parameter.tensor.grad().defined()) {
    return;
  }
  check_gradient(parameter);
  parameter.local = true;
  if (!enabled()) {
    end_local_with_backward();
    return;
  }
  if (!round_open_) {
    start_round();
    if (!ExplicitBackward::any()) {
      BareRounds::add(shared_from_this());
    }
  }
  any_gradient_ = true;
  if (parameter.bucket == kNone) {
    return;  // unfrozen in the middle of a round: finish_round sees to it
  }
  GradientBucket& bucket = buckets_[parameter.bucket];
  if (++parameter.reports > 1) {
    FABRIC_CHECK(Routing, !bucket.launched, "[fabric.ddp] parameter '", parameter.name, "' of ",
                 label_, " received a second gradient in one backward after its bucket had been ",
                 "reduced; the first backwards of this model gave it only one. Hint: this happens ",
                 "with re-entrant backward on shared weights; set the model up after the kind of ",
                 "step has settled.");
    repeats_ = true;
    return;
  }
  if (!order_agreed_) {
    seen_.push_back(index);
  }
  --outstanding_;
  --bucket.pending;
  if (launch_early_) {
    launch_ready();
  }
}

void GradientSync::end_local_with_backward() {
  if (local_ && !local_ends_ && !ExplicitBackward::any()) {
    local_ends_ = true;
    const auto end = [weak = weak_from_this()] {
      if (auto self = weak.lock()) {
        self->local_ = self->local_ends_ = false;
      }
    };
    at_end_of_backward(end, end);
  }
}

void GradientSync::check_gradient(const Parameter& parameter) const {
  FABRIC_CHECK(Routing, !parameter.tensor.grad().requires_grad(), "[fabric.ddp] the gradient of '",
               parameter.name, "' of ", label_, " is part of a graph (create_graph = true); a ",
               "reduction over ranks would cut it off silently. Hint: take gradients of gradients ",
               "with torch::autograd::grad({…}, …, create_graph = true) and call backward on the ",
               "final loss without create_graph.");
}

void GradientSync::open_round() {
  if (!round_open_) {
    start_round();
  }
}

void GradientSync::start_round() {
  check_parameters();
  if (layout_stale_) {
    lay_out();
  }
  outstanding_ = 0;
  for (GradientBucket& bucket : buckets_) {
    bucket.pending = bucket.members.size();
    bucket.launched = false;
    outstanding_ += bucket.members.size();
  }
  for (Parameter& parameter : parameters_) {
    parameter.reports = 0;
  }
  seen_.clear();
  next_launch_ = 0;
  any_gradient_ = false;
  // The first round records the order in which gradients become ready, and whether some report
  // twice. A collective that runs inline in the hook could wait for a rank that waits in another
  // model's, or in a collective of the graph itself: where there are such, reductions start when
  // backward has ended, unless a progress thread carries them.
  const bool alone = live_models == 1 && !CommunicatingGraph::any();
  launch_early_ = order_agreed_ && !repeats_ && (alone || communicator_.asynchronous(device_));
  round_open_ = true;
}

void GradientSync::lay_out() {
  // Recorded order first; until one is recorded (and for what it does not name) gradients are
  // expected from the last parameter to the first.
  std::vector<std::size_t> order = order_;
  std::vector<bool> named(parameters_.size(), false);
  for (const std::size_t index : order) {
    named[index] = true;
  }
  for (std::size_t i = parameters_.size(); i-- > 0;) {
    if (!named[i]) {
      order.push_back(i);
    }
  }
  std::vector<at::Tensor> tensors;
  for (Parameter& parameter : parameters_) {
    parameter.trainable = parameter.tensor.requires_grad();
    parameter.dtype = parameter.tensor.scalar_type();
    parameter.bucket = kNone;
    tensors.push_back(parameter.tensor);
  }
  std::erase_if(order, [&](std::size_t index) { return !parameters_[index].trainable; });
  // Gradients that still lie in the old buckets keep their storage alive and move at the next
  // launch, like any other gradient that is not in its slice.
  buckets_ = make_gradient_buckets(tensors, order, options_.bucket_bytes);
  for (GradientBucket& bucket : buckets_) {
    const std::optional<at::ScalarType> dtype = options_.reduce_dtype;
    if (dtype && c10::elementSize(*dtype) < c10::elementSize(bucket.storage.scalar_type())) {
      const OrdinaryScope ordinary;
      bucket.message = at::empty_like(bucket.storage, bucket.storage.options().dtype(*dtype));
    }
  }
  for (std::size_t b = 0; b < buckets_.size(); ++b) {
    for (const std::size_t member : buckets_[b].members) {
      parameters_[member].bucket = b;
    }
  }
  layout_stale_ = false;
  ++events_.layouts;
}

void GradientSync::launch_ready() {
  // Always in bucket order: ranks may see gradients in different orders.
  while (next_launch_ < buckets_.size() && buckets_[next_launch_].pending == 0) {
    launch(buckets_[next_launch_]);
    events_.early_reductions += outstanding_ > 0 ? 1 : 0;
    ++next_launch_;
  }
}

void GradientSync::launch(GradientBucket& bucket) {
  const OrdinaryScope ordinary;
  float* host_flags = nullptr;
  at::Tensor flags;
  if (bucket.flags.is_cpu() && bucket.flags.scalar_type() == at::kFloat) {
    host_flags = bucket.flags.mutable_data_ptr<float>();
  } else {
    flags = at::zeros({bucket.flags.numel()}, at::kFloat);
    host_flags = flags.mutable_data_ptr<float>();
  }
  for (std::size_t i = 0; i < bucket.members.size(); ++i) {
    Parameter& parameter = parameters_[bucket.members[i]];
    at::Tensor& grad = parameter.tensor.mutable_grad();
    at::Tensor& slice = bucket.slices[i];
    host_flags[i] = grad.defined() ? 1.F : 0.F;
    if (!grad.defined()) {
      slice.zero_();
    } else if (!grad.is_same(slice)) {
      if (grad.is_sparse()) {
        slice.zero_().add_(grad);  // copy_ into a strided tensor throws for sparse sources
      } else {
        slice.copy_(grad);
      }
      grad = slice;
    }
    parameter.local = false;
  }
  host_flags[bucket.members.size()] = any_gradient_ ? 1.F : 0.F;
  if (flags.defined()) {
    bucket.flags.copy_(flags, /*non_blocking=*/true);
  }
  if (bucket.message.defined()) {
    bucket.message.copy_(bucket.storage);
  }
  bucket.reduction = communicator_.all_reduce(
      bucket.message.defined() ? bucket.message : bucket.storage, ReduceOp::mean);
  bucket.launched = true;
  ++events_.reductions;
}

bool GradientSync::contributes() const {
  return any_gradient_ || std::any_of(parameters_.begin(), parameters_.end(),
                                      [](const Parameter& p) { return p.local; });
}

void GradientSync::receive(GradientBucket& bucket) {
  bucket.reduction.wait();
  if (bucket.message.defined()) {
    const OrdinaryScope ordinary;
    bucket.storage.copy_(bucket.message);
  }
}

void GradientSync::settle(GradientBucket& bucket) {
  receive(bucket);
  at::Tensor flags;  // read only where this rank has no gradient: on a GPU it stalls the host
  for (std::size_t i = 0; i < bucket.members.size(); ++i) {
    at::Tensor& grad = parameters_[bucket.members[i]].tensor.mutable_grad();
    if (grad.defined()) {
      continue;
    }
    if (!flags.defined()) {
      flags = bucket.flags.to(at::kCPU, at::kFloat);
    }
    if (flags.const_data_ptr<float>()[i] > 0) {
      grad = bucket.slices[i];
    }
  }
}

void GradientSync::finish_round() {
  round_open_ = false;  // whatever happens below, the next backward begins anew
  check_parameters();
  if (layout_stale_) {
    // Parameters were unfrozen while backward ran, on all ranks alike: one more layout, and a
    // second reduction of what was already reduced leaves it as it is (mean of means).
    for (GradientBucket& bucket : buckets_) {
      if (bucket.launched) {
        settle(bucket);
      }
    }
    lay_out();
    next_launch_ = 0;
  }
  const bool contributing = contributes();
  any_gradient_ = contributing;
  for (; next_launch_ < buckets_.size(); ++next_launch_) {
    GradientBucket& bucket = buckets_[next_launch_];
    launch(bucket);
    if (next_launch_ == 0 && !contributing) {
      // Nothing here: if no rank has anything, the other buckets are not worth a message.
      receive(bucket);
      const at::Tensor flags = bucket.flags.to(at::kCPU, at::kFloat);
      if (flags[static_cast<std::int64_t>(bucket.members.size())].item<float>() == 0) {
        return;
      }
    }
  }
  for (GradientBucket& bucket : buckets_) {
    settle(bucket);
  }
  if (!order_agreed_) {
    agree_on_order();
  }
  ++events_.rounds;
}

void GradientSync::agree_on_order() {
  // Rank 0's order counts; what it has not seen follows in the order it is laid out now.
  std::vector<std::int64_t> message(parameters_.size() + 1, -1);
  std::copy(seen_.begin(), seen_.end(), message.begin() + 1);
  at::Tensor shared = at::tensor(message, at::kLong).to(device_);
  at::Tensor repeats = at::tensor({repeats_ ? 1 : 0}, at::kLong).to(device_);
  communicator_.all_reduce(repeats, ReduceOp::max).wait();
  communicator_.broadcast(shared, 0).wait();
  repeats_ = repeats.item<std::int64_t>() > 0;
  const at::Tensor order = shared.to(at::kCPU);
  order_.clear();
  for (std::int64_t i = 1; i < order.numel(); ++i) {
    const std::int64_t index = order.const_data_ptr<std::int64_t>()[i];
    if (index >= 0) {
      order_.push_back(static_cast<std::size_t>(index));
    }
  }
  order_agreed_ = true;
  layout_stale_ = true;
}

// Whether parameters repeat, then the parameters.
std::vector<std::int64_t> GradientSync::order() const {
  std::vector<std::int64_t> order;
  if (order_agreed_) {
    order.push_back(repeats_ ? 1 : 0);
    order.insert(order.end(), order_.begin(), order_.end());
  }
  return order;
}

void GradientSync::set_order(const std::vector<std::int64_t>& order) {
  std::vector<bool> named(parameters_.size(), false);
  for (std::size_t i = 1; i < order.size(); ++i) {
    const auto index = static_cast<std::size_t>(order[i]);
    if (order[i] < 0 || index >= named.size() || named[index]) {
      return;
    }
    named[index] = true;
  }
  if (!order.empty() && !round_open_) {
    repeats_ = order.front() != 0;
    order_.assign(order.begin() + 1, order.end());
    order_agreed_ = true;
    layout_stale_ = true;
  }
}

bool GradientSync::holds_local() const {
  return std::any_of(parameters_.begin(), parameters_.end(), [](const Parameter& parameter) {
    return parameter.local && parameter.tensor.grad().defined();
  });
}

void GradientSync::abandon_round() noexcept {
  if (!round_open_) {
    return;
  }
  round_open_ = false;
  // Reductions under way keep their storage; the next round lays out fresh buckets.
  layout_stale_ = true;
}

}  // namespace fabric
