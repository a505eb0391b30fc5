#include <accelerators/collectives/mpi/backend.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <string_view>

#include <ATen/Parallel.h>

#include <accelerators/collectives/mpi/channel.h>
#include <accelerators/collectives/mpi/checks.h>
#include <accelerators/collectives/mpi/mpi.h>
#include <accelerators/error.h>

namespace fabric::mpi {
namespace {

// Handing a message to another thread costs tens of microseconds, as much as 64 KB take.
constexpr std::int64_t kSmallMessage = 64 << 10;

Progress progress_from_environment() {
  const char* text = std::getenv("FABRIC_MPI_PROGRESS");
  const std::string_view value = text == nullptr ? "auto" : text;
  FABRIC_CHECK(Misconfiguration, value == "auto" || value == "inline" || value == "thread",
               "[fabric.communicator] unknown FABRIC_MPI_PROGRESS; got '", value,
               "'; expected auto, inline or thread");
  return value == "inline"   ? Progress::run_inline
         : value == "thread" ? Progress::thread
                             : Progress::automatic;
}

int rank_among(const std::vector<int>& ranks) {
  detail::joined_job("fabric.communicator");
  return static_cast<int>(std::find(ranks.begin(), ranks.end(), world().rank) - ranks.begin());
}

}  // namespace

Backend::Backend(const std::string& name, const std::vector<int>& ranks)
    : c10d::Backend(rank_among(ranks), static_cast<int>(ranks.size())),
      name_(name),
      progress_(progress_from_environment()),
      channel_(std::make_unique<Channel>(name, ranks, getRank())) {}

Backend::~Backend() = default;

bool Backend::prefers_inline(std::int64_t bytes) const {
  switch (progress_) {
    case Progress::run_inline:
      return true;
    case Progress::thread:
      return false;
    case Progress::automatic:
      break;
  }
  // A progress thread spins while it waits, so it needs a core that nobody computes on.
  return bytes <= kSmallMessage ||
         world().local_size * at::get_num_threads() >= detail::job().usable_cores;
}

bool runs_inline(const c10d::Backend& backend) {
  const auto* ours = dynamic_cast<const Backend*>(&backend);
  return ours == nullptr || ours->prefers_inline(std::numeric_limits<std::int64_t>::max());
}

std::uint64_t Backend::submitted() const {
  return channel_->slot->ledger.submitted.load() - channel_->submitted_before;
}
std::uint64_t Backend::started() const {
  return channel_->slot->ledger.started.load() - channel_->started_before;
}
std::uint64_t Backend::finished() const {
  return channel_->slot->ledger.finished.load() - channel_->finished_before;
}

void Backend::count_device_collective() {
  channel_->slot->ledger.submit_on_device();
}

Backend::WorkPtr Backend::allreduce(Tensors& tensors, const c10d::AllreduceOptions& options) {
  detail::check_count("all_reduce", "tensors", tensors.size(), 1);
  const at::Tensor& tensor = tensors.front();
  detail::check_tensor("all_reduce", "tensor", tensor);
  const auto reduction =
      detail::reduction_for("fabric.all_reduce", tensor.scalar_type(), options.reduceOp);
  return submit(c10d::OpType::ALLREDUCE, "all_reduce", tensor.nbytes(), tensors, options.timeout,
                [tensor, reduction](const detail::Group& group) {
                  detail::all_reduce(group, tensor.data_ptr(), tensor.numel(), reduction);
                });
}

Backend::WorkPtr Backend::broadcast(Tensors& tensors, const c10d::BroadcastOptions& options) {
  detail::check_count("broadcast", "tensors", tensors.size(), 1);
  const at::Tensor& tensor = tensors.front();
  detail::check_tensor("broadcast", "tensor", tensor);
  detail::check_source("broadcast", options.rootRank, getSize());
  const int source = static_cast<int>(options.rootRank);
  return submit(c10d::OpType::BROADCAST, "broadcast", tensor.nbytes(), tensors, options.timeout,
                [tensor, source](const detail::Group& group) {
                  detail::broadcast(group, tensor.data_ptr(),
                                    static_cast<std::int64_t>(tensor.nbytes()), source);
                });
}

Backend::WorkPtr Backend::_allgather_base(at::Tensor& output, at::Tensor& input,
                                          const c10d::AllgatherOptions& options) {
  detail::check_slices("all_gather", output, "output", input, "input", getSize());
  return submit(c10d::OpType::_ALLGATHER_BASE, "all_gather", output.nbytes(), {output},
                options.timeout, [output, input](const detail::Group& group) {
                  detail::all_gather(group, output.data_ptr(), input.data_ptr(),
                                     static_cast<std::int64_t>(input.nbytes()));
                });
}

Backend::WorkPtr Backend::_reduce_scatter_base(at::Tensor& output, at::Tensor& input,
                                               const c10d::ReduceScatterOptions& options) {
  detail::check_slices("reduce_scatter", input, "input", output, "output", getSize());
  const auto reduction =
      detail::reduction_for("fabric.reduce_scatter", input.scalar_type(), options.reduceOp);
  return submit(c10d::OpType::_REDUCE_SCATTER_BASE, "reduce_scatter", input.nbytes(), {output},
                options.timeout, [output, input, reduction](const detail::Group& group) {
                  detail::reduce_scatter(group, output.data_ptr(), input.data_ptr(), output.numel(),
                                         reduction);
                });
}

Backend::WorkPtr Backend::barrier(const c10d::BarrierOptions& options) {
  return submit(c10d::OpType::BARRIER, "barrier", 0, {}, options.timeout,
                [](const detail::Group& group) { detail::barrier(group); });
}

void count_device_collective(c10d::Backend& cpu_backend) {
  if (auto* ours = dynamic_cast<Backend*>(&cpu_backend)) {
    ours->count_device_collective();
  }
}

c10::intrusive_ptr<c10d::Backend> make_backend(const std::string& name,
                                               const std::vector<int>& ranks) {
  return c10::make_intrusive<Backend>(name, ranks);
}

}  // namespace fabric::mpi
