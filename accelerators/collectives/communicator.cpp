#include <accelerators/collectives/communicator.h>

#include <utility>

#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>

#include <accelerators/collectives/fake/fake.h>
#include <accelerators/collectives/mpi/mpi.h>
#include <accelerators/collectives/nccl/nccl.h>
#include <accelerators/collectives/world.h>
#include <accelerators/plain_copy.h>

namespace fabric {
namespace {

c10d::ReduceOp c10d_op(ReduceOp op) {
  switch (op.kind()) {
    case ReduceOp::sum:
      return c10d::ReduceOp::SUM;
    case ReduceOp::mean:
      return c10d::ReduceOp::AVG;
    case ReduceOp::min:
      return c10d::ReduceOp::MIN;
    case ReduceOp::max:
      return c10d::ReduceOp::MAX;
    case ReduceOp::product:
      return c10d::ReduceOp::PRODUCT;
  }
  return c10d::ReduceOp::SUM;
}

void check_floating_mean(const char* where, const at::Tensor& tensor, ReduceOp op) {
  FABRIC_CHECK(Communication, op.kind() != ReduceOp::mean || tensor.is_floating_point(), "[fabric.",
               where, "] a mean needs floating-point numbers; got dtype ", tensor.scalar_type(),
               "; expected float, double, half or bfloat16. Hint: convert the tensor to double "
               "first, or take the sum");
}

// The backend of a group for one kind of device; null if it has none.
c10d::Backend* find_backend(const c10::intrusive_ptr<c10d::ProcessGroup>& group,
                            c10::DeviceType type) {
  for (const c10::Device& device : group->getDeviceTypes()) {
    if (device.type() == type) {
      return group->getBackend(type).get();
    }
  }
  return nullptr;
}

int groups_of_one = 0;  // how many detail::GroupsOfOne live

c10::intrusive_ptr<c10d::Backend> make_cpu_backend(const std::string& name,
                                                   const std::vector<int>& ranks) {
  const bool nobody_else = ranks.size() == 1 && !mpi::joined();
  return fake::joined() || nobody_else ? fake::make_backend(ranks) : mpi::make_backend(name, ranks);
}

// What gathers and scatters of one process come to.
void copy_whole(const at::Tensor& output, const at::Tensor& input) {
  if (output.const_data_ptr() == input.const_data_ptr()) {
    return;
  }
  if (output.sizes() == input.sizes()) {
    detail::copy_plain(output, input);
  } else {
    output.view(-1).copy_(input.view(-1));
  }
}

}  // namespace

PendingCollective::PendingCollective() = default;
PendingCollective::PendingCollective(c10::intrusive_ptr<c10d::Work> work)
    : work_(std::move(work)) {}
PendingCollective::PendingCollective(PendingCollective&&) noexcept = default;
PendingCollective& PendingCollective::operator=(PendingCollective&&) noexcept = default;
PendingCollective::~PendingCollective() = default;

void PendingCollective::wait() {
  if (work_) {
    work_->wait();
    work_.reset();
  }
}

bool PendingCollective::done() const {
  return !work_ || work_->isCompleted();
}

Communicator::Communicator() = default;
Communicator::Communicator(c10::intrusive_ptr<c10d::ProcessGroup> group)
    : group_(std::move(group)),
      rank_(group_ ? group_->getRank() : 0),
      size_(group_ ? group_->getSize() : 1) {
  if (group_) {
    cpu_ = find_backend(group_, c10::DeviceType::CPU);
  }
}
Communicator::Communicator(const Communicator&) = default;
Communicator::Communicator(Communicator&&) noexcept = default;
Communicator& Communicator::operator=(const Communicator&) = default;
Communicator& Communicator::operator=(Communicator&&) noexcept = default;
Communicator::~Communicator() = default;

c10::intrusive_ptr<c10d::Backend> Communicator::backend_for(const at::Tensor& tensor) const {
  if (cpu_ != nullptr && !tensor.device().is_cpu()) {
    mpi::count_device_collective(*cpu_);
  }
  return group_->getBackend(tensor.device().type());
}

PendingCollective Communicator::all_reduce(at::Tensor tensor, ReduceOp op) const {
  check_floating_mean("all_reduce", tensor, op);
  if (!group_) {
    return {};
  }
  c10d::AllreduceOptions options;
  options.reduceOp = c10d_op(op);
  const auto backend = backend_for(tensor);
  std::vector<at::Tensor> tensors = {std::move(tensor)};
  return PendingCollective(backend->allreduce(tensors, options));
}

PendingCollective Communicator::broadcast(at::Tensor tensor, int source) const {
  FABRIC_CHECK(Communication, source >= 0 && source < size_,
               "[fabric.broadcast] no such source rank; got ", source, "; expected 0 to ",
               size_ - 1);
  if (!group_) {
    return {};
  }
  c10d::BroadcastOptions options;
  options.rootRank = source;
  const auto backend = backend_for(tensor);
  std::vector<at::Tensor> tensors = {std::move(tensor)};
  return PendingCollective(backend->broadcast(tensors, options));
}

PendingCollective Communicator::all_gather(at::Tensor output, at::Tensor input) const {
  if (!group_) {
    copy_whole(output, input);
    return {};
  }
  return PendingCollective(backend_for(input)->_allgather_base(output, input));
}

PendingCollective Communicator::reduce_scatter(at::Tensor output, at::Tensor input,
                                               ReduceOp op) const {
  check_floating_mean("reduce_scatter", input, op);
  if (!group_) {
    copy_whole(output, input);
    return {};
  }
  c10d::ReduceScatterOptions options;
  options.reduceOp = c10d_op(op);
  return PendingCollective(backend_for(input)->_reduce_scatter_base(output, input, options));
}

void Communicator::barrier() const {
  if (group_) {
    // The default backend is NCCL where there is one, and waits for the device then.
    group_->getDefaultBackend()->barrier()->wait();
  }
}

bool Communicator::asynchronous(c10::Device device) const {
  if (!group_) {
    return false;
  }
  return device.is_cuda() || !mpi::runs_inline(*group_->getBackend(device.type()));
}

Communicator make_communicator(const std::string& name, c10::Device device) {
  return make_communicator(name, device, all_ranks());
}

Communicator make_communicator(const std::string& name, c10::Device device,
                               const std::vector<int>& ranks) {
  if (ranks.size() == 1 && groups_of_one == 0) {
    return Communicator();
  }
  auto cpu = make_cpu_backend(name, ranks);
  auto group = c10::make_intrusive<c10d::ProcessGroup>(c10::make_intrusive<c10d::HashStore>(),
                                                       cpu->getRank(), cpu->getSize());
  using Kind = c10d::ProcessGroup::BackendType;
  group->setBackend(c10::DeviceType::CPU, Kind::CUSTOM, std::move(cpu));
  group->setDefaultBackend(Kind::CUSTOM);
  if (device.is_cuda()) {
    group->setBackend(c10::DeviceType::CUDA, Kind::NCCL, nccl::make_backend(name, device, ranks));
    group->setDefaultBackend(Kind::NCCL);
  }
  group->setGroupDesc(name);
  return Communicator(std::move(group));
}

namespace detail {

GroupsOfOne::GroupsOfOne() {
  ++groups_of_one;
}
GroupsOfOne::~GroupsOfOne() {
  --groups_of_one;
}

}  // namespace detail

}  // namespace fabric
