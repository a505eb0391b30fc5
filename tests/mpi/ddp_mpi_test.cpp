// DDP against one process on the concatenated batch: the same numbers, whatever produced the
// gradients. Runs at 1, 2, 3 and 4 ranks.
#include <doctest/doctest.h>

#include <thread>

#include <torch/script.h>
#include <torch/torch.h>

#include <fabric/fabric.h>
#include <strategies/ddp.h>

#include <tests/support/training.h>

namespace {

using support::distance;
using support::MLP;
using support::part;
using support::with_seed;
using torch::Tensor;
using torch::optim::SGD;

constexpr double kExact = 1e-12;  // fp64

struct Problem {
  explicit Problem(int64_t rows_per_rank = 4) {
    const int64_t rows = rows_per_rank * fabric::world().size;
    torch::manual_seed(7);
    inputs = torch::randn({rows, 6}, torch::kDouble);
    targets = torch::randn({rows, 3}, torch::kDouble);
  }
  Tensor own(const Tensor& whole) const {
    return part(whole, fabric::world().rank, fabric::world().size);
  }
  Tensor x() const { return own(inputs); }
  Tensor y() const { return own(targets); }
  Tensor inputs, targets;
};

MLP double_mlp(int64_t seed = 1) {
  return with_seed(seed, [] {
    MLP net;
    net->to(torch::kDouble);
    return net;
  });
}

// What one process does with the whole batch.
void reference_step(MLP& net, SGD& optimizer, const Problem& problem) {
  optimizer.zero_grad();
  torch::mse_loss(net->forward(problem.inputs), problem.targets).backward();
  optimizer.step();
}

struct Launched {
  explicit Launched(fabric::DDPOptions options = {}) : fabric({.strategy = options}) {
    fabric.launch();
  }
  fabric::Fabric fabric;
};

// ranks hold different weights before setup, rank 0's count
MLP own_mlp() {
  return double_mlp(1 + 100 * fabric::world().rank);
}

}  // namespace

TEST_SUITE("mpi.ddp") {
  TEST_CASE("routed steps equal one process on the whole batch") {
    Launched job;
    const Problem problem;
    MLP reference = double_mlp();
    SGD reference_optimizer(reference->parameters(), torch::optim::SGDOptions(0.1).momentum(0.9));
    MLP net = own_mlp();
    auto model = job.fabric.setup(net);
    auto optimizer = job.fabric.setup_optimizers(
        SGD(model->parameters(), torch::optim::SGDOptions(0.1).momentum(0.9)));
    CHECK(distance(net->parameters(), reference->parameters()) == 0);
    for (int step = 0; step < 6; ++step) {
      reference_step(reference, reference_optimizer, problem);
      optimizer.zero_grad();
      job.fabric.backward(torch::mse_loss(model->forward(problem.x()), problem.y()));
      optimizer.step();
    }
    CHECK(distance(net->parameters(), reference->parameters()) < kExact);
  }

  TEST_CASE("unrouted steps of the user's own objects are synchronised as well") {
    Launched job;
    const Problem problem;
    MLP reference = double_mlp();
    SGD reference_optimizer(reference->parameters(), 0.1);
    MLP net = own_mlp();
    job.fabric.setup(net);  // result discarded on purpose
    SGD optimizer(net->parameters(), 0.1);
    for (int step = 0; step < 5; ++step) {
      reference_step(reference, reference_optimizer, problem);
      if (step % 2 == 0) {
        optimizer.zero_grad();
      } else {
        net->zero_grad(/*set_to_none=*/false);
      }
      torch::mse_loss(net->forward(problem.x()), problem.y()).backward();
      optimizer.step();
    }
    CHECK(distance(net->parameters(), reference->parameters()) < kExact);
  }

  TEST_CASE("a regulariser and a submodule alone are synchronised") {
    Launched job;
    const Problem problem;
    MLP net = own_mlp();
    auto model = job.fabric.setup(net);
    const double weight = 1.0 + fabric::world().rank;
    auto loss = weight * net->second->weight.pow(2).sum() + net->first(problem.x()).sum();
    loss.backward();
    MLP reference = double_mlp();
    double mean_weight = 0;
    for (int rank = 0; rank < fabric::world().size; ++rank) {
      mean_weight += (1.0 + rank) / fabric::world().size;
    }
    (mean_weight * reference->second->weight.pow(2).sum() +
     reference->first(problem.inputs).sum() / fabric::world().size)
        .backward();
    CHECK(
        (net->second->weight.grad() - reference->second->weight.grad()).abs().max().item<double>() <
        kExact);
    CHECK((net->first->weight.grad() - reference->first->weight.grad()).abs().max().item<double>() <
          kExact);
    CHECK(!net->third->weight.grad().defined());
  }

  TEST_CASE("no_backward_sync and accumulate equal one large batch") {
    Launched job;
    const Problem problem(8);
    MLP reference = double_mlp();
    SGD reference_optimizer(reference->parameters(), 0.1);
    MLP net = own_mlp();
    auto model = job.fabric.setup(net);
    auto optimizer = job.fabric.setup_optimizers(SGD(model->parameters(), 0.1));
    for (int step = 0; step < 3; ++step) {
      reference_step(reference, reference_optimizer, problem);
      optimizer.zero_grad();
      {
        auto guard = job.fabric.no_backward_sync(model);
        job.fabric.backward(
            torch::mse_loss(model->forward(part(problem.x(), 0, 2)), part(problem.y(), 0, 2)) / 2);
      }
      job.fabric.backward(
          torch::mse_loss(model->forward(part(problem.x(), 1, 2)), part(problem.y(), 1, 2)) / 2);
      optimizer.step();
    }
    optimizer.zero_grad();
    for (int step = 0; step < 3; ++step) {
      reference_step(reference, reference_optimizer, problem);
      std::vector<std::pair<Tensor, Tensor>> loader;
      for (int i = 0; i < 4; ++i) {
        loader.emplace_back(part(problem.x(), i, 4), part(problem.y(), i, 4));
      }
      for (auto [batch, micro] : job.fabric.accumulate(loader, 4)) {
        auto& [x, y] = batch;
        job.fabric.backward(micro.scale(torch::mse_loss(model->forward(x), y)));
        if (micro.last()) {
          optimizer.step();
          optimizer.zero_grad();
        }
      }
    }
    CHECK(distance(net->parameters(), reference->parameters()) < kExact);
  }

  TEST_CASE("a guard around an accumulation keeps its model's gradients local") {
    Launched job;
    MLP net = own_mlp();
    auto model = job.fabric.setup(net);
    {
      auto guard = job.fabric.no_backward_sync(model);
      for (auto [batch, micro] : job.fabric.accumulate(std::vector<int>{1, 2}, 2)) {
        job.fabric.backward(net->first->bias.sum() * (fabric::world().rank + batch));
      }
    }
    CHECK(net->first->bias.grad()[0].item<double>() == 2 * fabric::world().rank + 3);
    job.fabric.backward(net->first->bias.sum() * 0);
    CHECK(net->first->bias.grad()[0].item<double>() ==
          doctest::Approx(fabric::world().size - 1 + 3));
  }

  TEST_CASE("gradients that only micro-batches without synchronisation touched are reduced too") {
    Launched job;
    const Problem problem;
    MLP net = own_mlp();
    auto model = job.fabric.setup(net);
    {
      auto guard = job.fabric.no_backward_sync(model);
      job.fabric.backward(net->first(problem.x()).sum() * (1.0 + fabric::world().rank));
    }
    job.fabric.backward(net->second->weight.sum());
    const Tensor gathered = job.fabric.all_gather(net->first->weight.grad());
    CHECK((gathered - gathered[0]).abs().max().item<double>() == 0);
  }

  TEST_CASE("trap 8: two backwards before a step add up; averaging an average changes nothing") {
    Launched job;
    const Problem problem;
    MLP reference = double_mlp();
    SGD reference_optimizer(reference->parameters(), 0.1);
    MLP net = own_mlp();
    auto model = job.fabric.setup(net);
    for (int step = 0; step < 3; ++step) {
      reference->zero_grad();
      net->zero_grad();
      for (int pass = 0; pass < 2; ++pass) {
        torch::mse_loss(reference->forward(problem.inputs), problem.targets).backward();
        job.fabric.backward(torch::mse_loss(model->forward(problem.x()), problem.y()));
      }
      for (std::size_t i = 0; i < net->parameters().size(); ++i) {
        CHECK((net->parameters()[i].grad() - reference->parameters()[i].grad())
                  .abs()
                  .max()
                  .item<double>() < kExact);
      }
    }
  }

  TEST_CASE("average = false gives sums, also over two backwards") {
    Launched job({.average = false});
    const Problem problem;
    MLP reference = double_mlp();
    MLP net = own_mlp();
    auto model = job.fabric.setup(net);
    for (int pass = 0; pass < 2; ++pass) {
      torch::mse_loss(reference->forward(problem.inputs), problem.targets).backward();
      job.fabric.backward(torch::mse_loss(model->forward(problem.x()), problem.y()));
    }
    const double world = fabric::world().size;
    for (std::size_t i = 0; i < net->parameters().size(); ++i) {
      CHECK((net->parameters()[i].grad() - world * reference->parameters()[i].grad())
                .abs()
                .max()
                .item<double>() < 1e-11);
    }
  }

  TEST_CASE(
      "trap 10: a parameter unused on one rank gets the mean; unused on all it stays undefined") {
    Launched job;
    const Problem problem;
    MLP net = own_mlp();
    auto model = job.fabric.setup(net);
    for (int step = 0; step < 3; ++step) {
      net->zero_grad();
      Tensor loss = net->first(problem.x()).sum();
      if (fabric::world().rank == 0) {
        loss = loss + net->second->weight.sum();
      }
      job.fabric.backward(loss);
      REQUIRE(net->second->weight.grad().defined());
      CHECK(net->second->weight.grad()[0][0].item<double>() ==
            doctest::Approx(1.0 / fabric::world().size));
      CHECK(!net->third->weight.grad().defined());
      CHECK(!net->second->bias.grad().defined());
    }
  }

  TEST_CASE("trap 10: a rank whose loss does not reach the model takes part all the same") {
    Launched job;
    const Problem problem;
    MLP net = own_mlp();
    auto model = job.fabric.setup(net);
    Tensor other = torch::ones({1}, torch::requires_grad());
    for (int step = 0; step < 3; ++step) {
      net->zero_grad();
      const Tensor output = model->forward(problem.x());
      job.fabric.backward(fabric::world().rank == 0 ? output.sum() : other.sum());
      CHECK(net->third->bias.grad()[0].item<double>() ==
            doctest::Approx(4.0 / fabric::world().size));
    }
    // Nobody reaches it: gradients stay as they are, and no bucket but the first is sent.
    net->zero_grad();
    model->forward(problem.x());
    job.fabric.backward(other.sum());
    CHECK(!net->third->bias.grad().defined());
  }

  TEST_CASE("trap 17: frozen parameters cost nothing and train once unfrozen") {
    Launched job;
    const Problem problem;
    MLP reference = double_mlp();
    SGD reference_optimizer(reference->parameters(), 0.1);
    MLP net = own_mlp();
    for (auto* side : {&reference, &net}) {
      (*side)->first->weight.requires_grad_(false);
      (*side)->first->bias.requires_grad_(false);
    }
    auto model = job.fabric.setup(net);
    auto optimizer = job.fabric.setup_optimizers(SGD(net->parameters(), 0.1));
    for (int step = 0; step < 6; ++step) {
      if (step == 3) {
        for (auto* side : {&reference, &net}) {
          (*side)->first->weight.requires_grad_(true);
          (*side)->first->bias.requires_grad_(true);
          (*side)->third->bias.requires_grad_(false);
        }
      }
      reference_step(reference, reference_optimizer, problem);
      optimizer.zero_grad();
      job.fabric.backward(torch::mse_loss(model->forward(problem.x()), problem.y()));
      optimizer.step();
      CHECK(net->first->weight.grad().defined() == (step >= 3));
    }
    CHECK(distance(net->parameters(), reference->parameters()) < kExact);
  }

  TEST_CASE("two models trained in turns, as a GAN does") {
    Launched job;
    const Problem problem;
    torch::manual_seed(3);
    MLP generator = double_mlp(11);
    auto critic = with_seed(12, [] {
      MLP net(3, 8, 1);
      net->to(torch::kDouble);
      return net;
    });
    MLP own_generator = double_mlp(11 + fabric::world().rank);
    auto own_critic = with_seed(12 + fabric::world().rank, [] {
      MLP net(3, 8, 1);
      net->to(torch::kDouble);
      return net;
    });
    SGD g(generator->parameters(), 0.05), d(critic->parameters(), 0.05);
    auto [model_g, optimizer_g] =
        job.fabric.setup(own_generator, SGD(own_generator->parameters(), 0.05));
    auto [model_d, optimizer_d] = job.fabric.setup(own_critic, SGD(own_critic->parameters(), 0.05));
    for (int step = 0; step < 4; ++step) {
      d.zero_grad();
      critic->forward(problem.targets).mean().backward();
      const Tensor fake = generator->forward(problem.inputs);
      (-critic->forward(fake.detach()).mean()).backward();
      d.step();
      g.zero_grad();
      critic->forward(fake).mean().backward();
      g.step();

      optimizer_d.zero_grad();
      job.fabric.backward(model_d->forward(problem.y()).mean());
      const Tensor own_fake = model_g->forward(problem.x());
      job.fabric.backward(-model_d->forward(own_fake.detach()).mean());
      optimizer_d.step();
      optimizer_g.zero_grad();
      job.fabric.backward(model_d->forward(own_fake).mean());
      optimizer_g.step();
    }
    CHECK(distance(own_generator->parameters(), generator->parameters()) < kExact);
    CHECK(distance(own_critic->parameters(), critic->parameters()) < kExact);
  }

  TEST_CASE("shared parameters and BatchNorm with two forwards before one backward") {
    struct TiedImpl : torch::nn::Module {
      TiedImpl()
          : layer(register_module("layer", torch::nn::Linear(6, 6))),
            norm(register_module("norm", torch::nn::BatchNorm1d(6))) {}
      Tensor forward(Tensor x) { return norm(layer(torch::tanh(layer(x)))); }
      torch::nn::Linear layer;
      torch::nn::BatchNorm1d norm;
    };
    Launched job;
    const Problem problem;
    auto net = with_seed(1 + fabric::world().rank, [] { return std::make_shared<TiedImpl>(); });
    net->to(torch::kDouble);
    auto model = job.fabric.setup(net);
    for (int step = 0; step < 3; ++step) {
      net->zero_grad();
      const Tensor loss =
          model->forward(problem.x()).pow(2).sum() + model->forward(2 * problem.x()).sum();
      job.fabric.backward(loss);
      const Tensor gathered = job.fabric.all_gather(net->layer->weight.grad());
      CHECK((gathered - gathered[0]).abs().max().item<double>() == 0);
    }
  }

  TEST_CASE("traps 20 and 22: converted BatchNorm layers see the whole batch, gradients included") {
    struct NormedImpl : torch::nn::Module {
      NormedImpl()
          : conv(register_module("conv", torch::nn::Conv1d(1, 3, 3))),
            norm(register_module("norm", torch::nn::BatchNorm1d(3))),
            head(register_module("head", torch::nn::Linear(12, 3))),
            last(register_module(
                "last", torch::nn::BatchNorm1d(
                            torch::nn::BatchNorm1dOptions(3).track_running_stats(false)))) {}
      Tensor forward(Tensor x) {
        return last(head(torch::tanh(norm(conv(x.unsqueeze(1)))).flatten(1)));
      }
      torch::nn::Conv1d conv;
      torch::nn::BatchNorm1d norm;
      torch::nn::Linear head;
      torch::nn::BatchNorm1d last;
    };
    Launched job;
    const Problem problem;
    for (const bool before_setup : {true, false}) {
      NormedImpl reference = with_seed(1, [] { return NormedImpl(); });
      reference.to(torch::kDouble);
      SGD reference_optimizer(reference.parameters(), 0.1);
      auto net = with_seed(1, [] { return std::make_shared<NormedImpl>(); });
      if (before_setup) {
        CHECK(job.fabric.convert_sync_batchnorm(net) == 2);
      }
      net->to(torch::kDouble);
      auto model = job.fabric.setup(net);
      if (!before_setup) {
        CHECK(job.fabric.convert_sync_batchnorm(model) == 2);
      }
      auto optimizer = job.fabric.setup_optimizers(SGD(model->parameters(), 0.1));
      for (int step = 0; step < 4; ++step) {
        reference_optimizer.zero_grad();
        torch::mse_loss(reference.forward(problem.inputs), problem.targets).backward();
        reference_optimizer.step();
        optimizer.zero_grad();
        job.fabric.backward(torch::mse_loss(model->forward(problem.x()), problem.y()));
        optimizer.step();
      }
      CHECK(distance(net->parameters(), reference.parameters()) < 1e-11);
      CHECK((net->norm->running_mean - reference.norm->running_mean).abs().max().item<double>() <
            1e-11);
      CHECK((net->norm->running_var - reference.norm->running_var).abs().max().item<double>() <
            1e-11);
    }
  }

  TEST_CASE("buffers follow rank 0 before each routed call in training") {
    Launched job;
    auto norm = torch::nn::BatchNorm1d(6);
    auto model = job.fabric.setup(norm);
    torch::manual_seed(5 + fabric::world().rank);
    model->forward(torch::randn({8, 6}));
    model->forward(torch::randn({8, 6}));
    model->eval();
    const Tensor before = job.fabric.all_gather(norm->running_mean);
    CHECK((fabric::world().size == 1 || (before - before[0]).abs().max().item<double>() > 0));
    model->train();
    const Tensor first = job.fabric.broadcast(norm->running_mean);
    model->forward(torch::zeros({8, 6}));
    CHECK((norm->running_mean - 0.9 * first).abs().max().item<double>() < 1e-6);
    CHECK(norm->num_batches_tracked.item<int64_t>() == 3);
  }

  TEST_CASE("trap 19: sparse gradients arrive as dense means") {
    Launched job;
    auto embedding = torch::nn::Embedding(torch::nn::EmbeddingOptions(5, 2).sparse(true));
    auto model = job.fabric.setup(embedding);
    for (int step = 0; step < 2; ++step) {
      embedding->zero_grad();
      const Tensor index = torch::full({3}, fabric::world().rank % 5, torch::kLong);
      job.fabric.backward(model->forward(index).sum());
      CHECK(embedding->weight.grad().is_sparse() == (fabric::world().size == 1));
      CHECK(embedding->weight.grad().to_dense().sum().item<double>() == doctest::Approx(6.0));
    }
  }

  TEST_CASE("trap 4: converting the model after setup keeps it synchronised") {
    Launched job;
    const Problem problem;
    auto net = with_seed(1 + fabric::world().rank, [] { return MLP(); });
    auto model = job.fabric.setup(net);
    net->to(torch::kDouble);
    auto optimizer = job.fabric.setup_optimizers(SGD(net->parameters(), 0.1));
    for (int step = 0; step < 3; ++step) {
      optimizer.zero_grad();
      job.fabric.backward(torch::mse_loss(model->forward(problem.x()), problem.y()));
      optimizer.step();
    }
    const Tensor gathered = job.fabric.all_gather(net->first->weight);
    CHECK((gathered - gathered[0]).abs().max().item<double>() == 0);
  }

  TEST_CASE("trap 3: LibTorch's own tools work on the gradients") {
    Launched job;
    const Problem problem;
    MLP reference = double_mlp();
    SGD reference_optimizer(reference->parameters(), 0.5);
    torch::optim::StepLR reference_schedule(reference_optimizer, 1, 0.5);
    MLP net = own_mlp();
    auto model = job.fabric.setup(net);
    auto optimizer = job.fabric.setup_optimizers(SGD(model->parameters(), 0.5));
    torch::optim::StepLR schedule(optimizer, 1, 0.5);
    for (int step = 0; step < 3; ++step) {
      reference_optimizer.zero_grad();
      torch::mse_loss(reference->forward(problem.inputs), problem.targets).backward();
      const double expected = torch::nn::utils::clip_grad_norm_(reference->parameters(), 0.01);
      reference_optimizer.step();
      reference_schedule.step();
      optimizer.zero_grad();
      job.fabric.backward(torch::mse_loss(model->forward(problem.x()), problem.y()));
      CHECK(torch::nn::utils::clip_grad_norm_(model->parameters(), 0.01) ==
            doctest::Approx(expected));
      optimizer.step();
      schedule.step();
    }
    CHECK(distance(net->parameters(), reference->parameters()) < kExact);
  }

  TEST_CASE("buckets are reduced before the last gradient of the backward exists") {
    Launched job({.bucket_mb = 0.0005});
    const Problem problem;
    MLP net = own_mlp();
    auto model = job.fabric.setup(net);
    for (int step = 0; step < 4; ++step) {
      net->zero_grad();
      job.fabric.backward(torch::mse_loss(model->forward(problem.x()), problem.y()));
    }
    const auto* sync = fabric::gradient_sync_of(model.managed());
    REQUIRE((sync != nullptr) == (fabric::world().size > 1));
    if (sync) {
      CHECK(sync->events().rounds == 4);
      CHECK(sync->events().layouts == 2);  // once to record the order, once in that order
      CHECK(sync->events().reductions >= 4 * 3);
      CHECK(sync->events().early_reductions >= 3);  // none in the recording round
    }
  }

  TEST_CASE("trap 7: a re-entrant backward inside a backward is synchronised") {
    struct Inner : torch::autograd::Function<Inner> {
      static Tensor forward(torch::autograd::AutogradContext* context, Tensor x, Tensor weight) {
        context->save_for_backward({x, weight});
        return x.matmul(weight.t());
      }
      static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                     torch::autograd::variable_list gradients) {
        const auto saved = context->get_saved_variables();
        torch::AutoGradMode on(true);
        auto x = saved[0].detach().requires_grad_();
        x.matmul(saved[1].t()).backward(gradients[0]);
        return {x.grad(), Tensor()};
      }
    };
    Launched job;
    const Problem problem;
    for (const bool explicit_backward : {true, false}) {
      MLP reference = double_mlp();
      MLP net = own_mlp();
      auto model = job.fabric.setup(net);
      for (int step = 0; step < 3; ++step) {
        net->zero_grad();
        reference->zero_grad();
        const auto run = [](MLP& mlp, const Tensor& x) {
          return mlp->third(Inner::apply(torch::tanh(mlp->first(x)), mlp->second->weight)).mean();
        };
        run(reference, problem.inputs).backward();
        const Tensor loss = run(net, problem.x());
        explicit_backward ? job.fabric.backward(loss) : loss.backward();
        for (const char* name : {"first.weight", "second.weight", "third.weight"}) {
          CAPTURE(name);
          CHECK((net->named_parameters()[name].grad() - reference->named_parameters()[name].grad())
                    .abs()
                    .max()
                    .item<double>() < kExact);
        }
      }
    }
  }

  TEST_CASE("trap 7: an exception inside a backward leaves the next one right") {
    Launched job;
    const Problem problem;
    MLP reference = double_mlp();
    SGD reference_optimizer(reference->parameters(), 0.1);
    MLP net = own_mlp();
    auto model = job.fabric.setup(net);
    auto optimizer = job.fabric.setup_optimizers(SGD(model->parameters(), 0.1));
    for (int step = 0; step < 4; ++step) {
      for (const bool explicit_backward : {true, false}) {
        Tensor hidden = torch::tanh(net->first(problem.x()));
        hidden.register_hook([](Tensor) -> Tensor { throw std::runtime_error("on purpose"); });
        const Tensor loss = net->third(net->second(hidden)).sum();
        CHECK_THROWS_WITH(explicit_backward ? job.fabric.backward(loss) : loss.backward(),
                          doctest::Contains("on purpose"));
      }
      reference_step(reference, reference_optimizer, problem);
      optimizer.zero_grad();
      job.fabric.backward(torch::mse_loss(model->forward(problem.x()), problem.y()));
      optimizer.step();
    }
    CHECK(distance(net->parameters(), reference->parameters()) < kExact);
  }

  TEST_CASE("trap 8: gradients with a graph are refused with the reason") {
    Launched job;
    MLP net = own_mlp();
    auto model = job.fabric.setup(net);
    const Problem problem;
    if (fabric::world().size > 1) {
      CHECK_THROWS_WITH_AS(
          job.fabric.backward(model->forward(problem.x()).pow(2).sum(), {}, true, true),
          doctest::Contains("create_graph"), fabric::RoutingError);
    }
    net->zero_grad();
    // The supported way: a gradient penalty.
    Tensor x = problem.x().clone().requires_grad_();
    const Tensor gradient =
        torch::autograd::grad({model->forward(x).sum()}, {x}, {}, true, true)[0];
    job.fabric.backward(gradient.pow(2).sum());
    CHECK(net->first->weight.grad().defined());
  }

  TEST_CASE("trap 6: backward through weights that were updated after forward throws") {
    Launched job;
    const Problem problem;
    MLP net = own_mlp();
    auto model = job.fabric.setup(net);
    const Tensor first = model->forward(problem.x()).sum();
    job.fabric.backward(model->forward(problem.x()).sum());
    {
      // LibTorch's own optimizers write through .data(), which no version counter sees.
      const torch::NoGradGuard no_grad;
      net->second->weight.sub_(0.1 * net->second->weight.grad());
    }
    CHECK_THROWS_WITH(job.fabric.backward(first), doctest::Contains("modified by an inplace"));
  }

  TEST_CASE("trap 9: setup inside the user's inference mode gives ordinary gradients") {
    Launched job;
    const Problem problem;
    MLP net = own_mlp();
    auto model = [&] {
      const c10::InferenceMode inference;
      return job.fabric.setup(net);
    }();
    for (int step = 0; step < 3; ++step) {
      job.fabric.backward(torch::mse_loss(model->forward(problem.x()), problem.y()));
    }
    CHECK(!net->first->weight.grad().is_inference());
    net->zero_grad(/*set_to_none=*/false);
  }

  TEST_CASE("graphs that reach two models in different orders do not wait for each other") {
    Launched job({.bucket_mb = 0.0005});
    const Problem problem;
    MLP first = own_mlp(), second = own_mlp();
    job.fabric.setup(first);
    job.fabric.setup(second);
    for (int step = 0; step < 4; ++step) {
      first->zero_grad();
      second->zero_grad();
      // Autograd runs later nodes first: the order of the forwards is that of the gradients.
      Tensor a, b;
      if (fabric::world().rank % 2 == 1) {
        b = second->forward(problem.x()).sum();
        a = first->forward(problem.x()).sum();
      } else {
        a = first->forward(problem.x()).sum();
        b = second->forward(problem.x()).sum();
      }
      (a + b).backward();
      for (const MLP& net : {first, second}) {
        const Tensor gathered = job.fabric.all_gather(net->first->weight.grad());
        CHECK((gathered - gathered[0]).abs().max().item<double>() == 0);
      }
    }
  }

  TEST_CASE("a TorchScript model is synchronised like any other") {
    Launched job;
    torch::jit::Module net("Scripted");
    net.register_parameter("weight",
                           torch::full({2, 2}, 1.0 + fabric::world().rank, torch::requires_grad()),
                           /*is_buffer=*/false);
    net.define("def forward(self, x):\n    return torch.matmul(x, self.weight)\n");
    auto model = job.fabric.setup(net);
    CHECK(net.attr("weight").toTensor()[0][0].item<double>() == 1);  // rank 0's
    for (int step = 0; step < 3; ++step) {
      model->zero_grad();
      const Tensor x = torch::full({1, 2}, double(fabric::world().rank));
      job.fabric.backward(model(x).toTensor().sum());
      CHECK(net.attr("weight").toTensor().grad()[0][0].item<double>() ==
            doctest::Approx((fabric::world().size - 1) / 2.0));
    }
  }

  TEST_CASE("trap 11: the user's collectives on another thread do not disturb the engine's") {
    Launched job;
    const Problem problem;
    MLP reference = double_mlp();
    SGD reference_optimizer(reference->parameters(), 0.1);
    MLP net = own_mlp();
    auto [handle, update] = job.fabric.setup(net, SGD(net->parameters(), 0.1));
    const int size = fabric::world().size;
    int wrong = 0;
    std::thread other([&] {
      for (int i = 0; i < 200; ++i) {
        wrong += job.fabric.sum(fabric::world().rank + i) != size * (size - 1) / 2 + size * i;
      }
    });
    for (int step = 0; step < 20; ++step) {
      reference_step(reference, reference_optimizer, problem);
      update.zero_grad();
      job.fabric.backward(torch::mse_loss(handle->forward(problem.x()), problem.y()));
      update.step();
    }
    other.join();
    CHECK(wrong == 0);
    CHECK(distance(net->parameters(), reference->parameters()) < kExact);
  }

  TEST_CASE("trap 12: one rank alone may read the weights") {
    Launched job;
    MLP net = own_mlp();
    auto model = job.fabric.setup(net);
    if (fabric::world().rank == 0) {
      CHECK(net->first->weight.norm().item<double>() > 0);
    }
    job.fabric.barrier();
  }

  TEST_CASE("trap 16: a backward on another thread is synchronised") {
    Launched job;
    const Problem problem;
    MLP reference = double_mlp();
    SGD reference_optimizer(reference->parameters(), 0.1);
    MLP net = own_mlp();
    auto [model, optimizer] = job.fabric.setup(net, SGD(net->parameters(), 0.1));
    for (int step = 0; step < 3; ++step) {
      reference_step(reference, reference_optimizer, problem);
      optimizer.zero_grad();
      const Tensor loss = torch::mse_loss(model->forward(problem.x()), problem.y());
      std::thread([&] { loss.backward(); }).join();
      optimizer.step();
    }
    CHECK(distance(net->parameters(), reference->parameters()) < kExact);
  }

  TEST_CASE("ranks with different models are told which tensor differs") {
    Launched job;
    if (fabric::world().size == 1) {
      return;
    }
    const int64_t hidden = fabric::world().rank == 0 ? 16 : 17;
    MLP net(6, hidden, 3);
    CHECK_THROWS_WITH_AS(job.fabric.setup(net), doctest::Contains("'first.weight'"),
                         fabric::CommunicationError);
  }

  TEST_CASE("model after model does not pile up communicators") {
    Launched job;
    const Problem problem;
    for (int fold = 0; fold < 2; ++fold) {
      MLP net = own_mlp();
      job.fabric.setup(net);
    }
    const int before = fabric::mpi::communicators_made();
    for (int fold = 0; fold < 6; ++fold) {
      MLP net = own_mlp();
      auto model = job.fabric.setup(net);
      job.fabric.backward(torch::mse_loss(model->forward(problem.x()), problem.y()));
    }
    CHECK(fabric::mpi::communicators_made() <= before + 1);
  }
}
