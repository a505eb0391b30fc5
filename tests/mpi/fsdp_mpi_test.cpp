// FSDP against one process on the concatenated batch: the same numbers, whatever used the
// parameters. Runs at 1, 2, 3 and 4 ranks.
#include <doctest/doctest.h>

#include <torch/torch.h>

#include <fabric/fabric.h>
#include <strategies/fsdp.h>

#include <tests/support/training.h>

namespace {

using support::distance;
using support::MLP;
using support::part;
using support::with_seed;
using torch::Tensor;

constexpr double kExact = 1e-12;  // fp64

Tensor own(const Tensor& whole) {
  return part(whole, fabric::world().rank, fabric::world().size);
}

/// Rows for all ranks, the same on each.
Tensor rows(std::vector<int64_t> shape, int64_t seed = 7) {
  torch::manual_seed(seed);
  shape.insert(shape.begin(), 4L * fabric::world().size);
  return torch::randn(shape, torch::kDouble);
}

template <class Net>
Net double_net(int64_t seed = 1) {
  return with_seed(seed, [] {
    Net net;
    net->to(torch::kDouble);
    return net;
  });
}

struct Job {
  explicit Job(fabric::FSDPOptions options = {.units = {"Linear"}})
      : fabric({.strategy = options}) {
    fabric.launch();
  }
  fabric::Fabric fabric;
};

template <class M>
const fabric::ShardedModel& engine(const fabric::FabricModule<M>& model) {
  return *fabric::sharded_model_of(model.managed());
}

/// Trains a net on one process with the whole batch, and sharded with each rank's part; compares
/// losses and parameters.
template <class Optimizer, class Net, class Options>
void compare(Net make_net(int64_t), const std::function<Tensor(Net&, Tensor)>& loss_of,
             const Tensor& inputs, Options options, fabric::FSDPOptions strategy, int steps = 5) {
  Net reference = make_net(1);
  Optimizer reference_optimizer(reference->parameters(), options);
  Job job(strategy);
  Net net = make_net(1 + 100 * fabric::world().rank);  // rank 0's values count
  auto model = job.fabric.setup(net);
  auto optimizer = job.fabric.setup_optimizers(Optimizer(model->parameters(), options));
  CHECK(distance(net->parameters(), reference->parameters()) == 0);
  for (int step = 0; step < steps; ++step) {
    reference_optimizer.zero_grad();
    const Tensor expected = loss_of(reference, inputs);
    expected.backward();
    reference_optimizer.step();
    optimizer.zero_grad();
    const Tensor loss = job.fabric.routed([&] { return loss_of(net, own(inputs)); }, model);
    job.fabric.backward(loss);
    optimizer.step();
    CHECK(job.fabric.mean(loss.item<double>()) == doctest::Approx(expected.item<double>()));
  }
  CHECK(distance(net->parameters(), reference->parameters()) < kExact);
}

Tensor mlp_loss(MLP& net, Tensor x) {
  return net->forward(x).square().mean();
}

}  // namespace

TEST_SUITE("mpi.fsdp") {
  TEST_CASE("an MLP trains like one process with every elementwise optimizer") {
    using namespace torch::optim;
    const Tensor x = rows({6});
    const fabric::FSDPOptions linear{.units = {"Linear"}};
    compare<SGD, MLP>(double_net<MLP>, mlp_loss, x, SGDOptions(0.1), linear);
    compare<SGD, MLP>(double_net<MLP>, mlp_loss, x,
                      SGDOptions(0.1).momentum(0.9).weight_decay(0.01).nesterov(true), linear);
    compare<Adam, MLP>(double_net<MLP>, mlp_loss, x, AdamOptions(0.01).amsgrad(true), linear);
    compare<AdamW, MLP>(double_net<MLP>, mlp_loss, x, AdamWOptions(0.01), linear);
    compare<RMSprop, MLP>(double_net<MLP>, mlp_loss, x, RMSpropOptions(0.01).momentum(0.5), linear);
    compare<Adagrad, MLP>(double_net<MLP>, mlp_loss, x, AdagradOptions(0.01), linear);
    compare<AdamW, MLP>(double_net<MLP>, mlp_loss, x, AdamWOptions(0.01), {});  // one unit
  }
}
