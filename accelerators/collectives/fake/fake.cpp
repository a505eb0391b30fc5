#include <accelerators/collectives/fake/fake.h>

#include <mutex>

#include <ATen/ATen.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>

#include <accelerators/collectives/world.h>
#include <accelerators/error.h>

namespace fabric::fake {
namespace {

struct State {
  std::mutex mutex;
  bool joined = false;
  Traffic traffic;
};

State& state() {
  static State& instance = *new State;
  return instance;
}

void count(Collective::Kind kind, int ranks, std::int64_t bytes) {
  State& all = state();
  const std::lock_guard lock(all.mutex);
  ++all.traffic[{kind, ranks, bytes}];
}

/// Work that has ended.
class Done final : public c10d::Work {
 public:
  bool isCompleted() override { return true; }
  bool wait(std::chrono::milliseconds) override { return true; }
};

class Backend final : public c10d::Backend {
 public:
  explicit Backend(int ranks) : c10d::Backend(0, ranks) {}
  const std::string getBackendName() const override { return "fabric_fake"; }

  using Tensors = std::vector<at::Tensor>;
  using WorkPtr = c10::intrusive_ptr<c10d::Work>;

  WorkPtr allreduce(Tensors& tensors, const c10d::AllreduceOptions&) override {
    return done(Collective::all_reduce, tensors.front());
  }
  WorkPtr broadcast(Tensors& tensors, const c10d::BroadcastOptions&) override {
    return done(Collective::broadcast, tensors.front());
  }
  WorkPtr _allgather_base(at::Tensor& output, at::Tensor& input,
                          const c10d::AllgatherOptions&) override {
    const at::Tensor rows = output.view({getSize(), -1});
    const at::Tensor own = input.view({1, -1});
    if (own.const_data_ptr() == output.const_data_ptr()) {
      rows.narrow(0, 1, getSize() - 1).copy_(own.expand({getSize() - 1, -1}));
    } else {
      rows.copy_(own.expand_as(rows));
    }
    return done(Collective::all_gather, output);
  }
  WorkPtr _reduce_scatter_base(at::Tensor& output, at::Tensor& input,
                               const c10d::ReduceScatterOptions&) override {
    if (output.const_data_ptr() != input.const_data_ptr()) {
      output.view(-1).copy_(input.view(-1).narrow(0, 0, output.numel()));
    }
    return done(Collective::reduce_scatter, input);
  }
  WorkPtr barrier(const c10d::BarrierOptions&) override {
    count(Collective::barrier, getSize(), 0);
    return c10::make_intrusive<Done>();
  }

 private:
  WorkPtr done(Collective::Kind kind, const at::Tensor& whole) {
    count(kind, getSize(), static_cast<std::int64_t>(whole.nbytes()));
    return c10::make_intrusive<Done>();
  }
};

}  // namespace

void join(int ranks, int ranks_per_node) {
  FABRIC_CHECK(Misconfiguration, ranks >= 1 && ranks_per_node >= 1,
               "[fabric.simulate] a world needs ranks; got ", ranks, " ranks, ", ranks_per_node,
               " on each node");
  World made;
  made.size = ranks;
  made.local_size = std::min(ranks, ranks_per_node);
  made.num_nodes = (ranks + made.local_size - 1) / made.local_size;
  fabric::detail::set_world(made);
  state().joined = true;
}

bool joined() {
  return state().joined;
}

c10::intrusive_ptr<c10d::Backend> make_backend(const std::vector<int>& ranks) {
  return c10::make_intrusive<Backend>(static_cast<int>(ranks.size()));
}

Traffic traffic() {
  State& all = state();
  const std::lock_guard lock(all.mutex);
  return all.traffic;
}

}  // namespace fabric::fake
