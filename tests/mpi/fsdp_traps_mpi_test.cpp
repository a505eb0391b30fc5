// What breaks a naive sharding engine, each by name. Runs at 1, 2, 3 and 4 ranks.
#include <doctest/doctest.h>

#include <sstream>

#include <torch/torch.h>

#include <tests/support/sharding.h>

namespace {

using support::distance;
using support::double_net;
using support::kExact;
using support::MLP;
using support::own;
using support::part;
using support::with_seed;
using torch::Tensor;

/// An MLP sharded by layers, the same on one process, and an optimizer for each.
struct Job : support::Twin<MLP> {
  Job() : Twin(0.1) {}
  Tensor loss() { return model->forward(own(x)).square().mean(); }
  Tensor reference_loss() { return reference->forward(x).square().mean(); }
  void step() {
    optimizer.zero_grad();
    fabric.backward(loss());
    optimizer.step();
  }
  void reference_step() {
    reference_optimizer.zero_grad();
    reference_loss().backward();
    reference_optimizer.step();
  }

  Tensor x = support::rows({6});
};

}  // namespace

TEST_SUITE("mpi.fsdp_traps") {
  TEST_CASE("1: units of equal size that two ranks gather in different orders are an error") {
    if (fabric::world().size == 1) {
      return;
    }
    fabric::Fabric fabric({.strategy = fabric::FSDPOptions{.units = {"Linear"}}});
    fabric.launch();
    torch::nn::Sequential net(torch::nn::Linear(8, 8), torch::nn::Linear(8, 8));
    auto model = fabric.setup(net);
    const bool first = fabric.is_global_zero();
    CHECK_THROWS_WITH_AS(net[first ? 0 : 1]->as<torch::nn::Linear>()->forward(torch::randn({2, 8})),
                         doctest::Contains("in different orders"), fabric::CommunicationError);
  }

  TEST_CASE("2: what is written into a gathered parameter survives its freeing") {
    Job job;
    for (int step = 0; step < 2; ++step) {
      job.step();
      job.reference_step();
      const torch::NoGradGuard no_grad;
      for (MLP* net : {&job.net, &job.reference}) {
        for (Tensor& parameter : (*net)->parameters()) {
          parameter.clamp_(-0.1, 0.1);
        }
        (*net)->second->bias.narrow(0, 3, 2).fill_(0.25);  // through a view
        torch::nn::init::constant_((*net)->third->weight, 0.05);
      }
      job.fabric.barrier();
    }
    job.step();
    job.reference_step();
    CHECK(job.error() < kExact);
  }

  TEST_CASE("3: the user's own norms, clipping and zeroing of .grad work") {
    Job job;
    job.fabric.backward(job.loss());
    job.reference_loss().backward();
    for (std::size_t i = 0; i < job.net->parameters().size(); ++i) {
      const Tensor grad = job.net->parameters()[i].grad();
      REQUIRE(grad.defined());
      CHECK(distance({grad.clone()}, {job.reference->parameters()[i].grad()}) < kExact);
    }
    const double norm = torch::nn::utils::clip_grad_norm_(job.net->parameters(), 0.01);
    const double expected = torch::nn::utils::clip_grad_norm_(job.reference->parameters(), 0.01);
    CHECK(norm == doctest::Approx(expected));
    CHECK(norm > 0.01);
    job.optimizer.step();
    job.reference_optimizer.step();
    CHECK(job.error() < kExact);

    job.net->zero_grad();
    CHECK_FALSE(job.net->first->weight.grad().defined());
    job.optimizer.step();  // nothing to do
    CHECK(job.error() < kExact);

    job.fabric.backward(job.loss());
    job.optimizer.zero_grad();
    CHECK_FALSE(job.net->first->weight.grad().defined());
    job.fabric.backward(job.loss());
    job.net->zero_grad(/*set_to_none=*/false);
    job.optimizer.step();
    CHECK(job.error() < kExact);

    job.fabric.backward(job.loss());
    job.net->first->weight.mutable_grad().reset();  // one parameter only
    job.optimizer.step();
    job.reference->zero_grad();
    job.reference_loss().backward();
    job.reference->first->weight.mutable_grad().reset();
    job.reference_optimizer.step();
    CHECK(job.error() < kExact);
  }

  TEST_CASE("3: a gradient that the user assigns is the one that counts") {
    Job job;
    for (std::size_t i = 0; i < job.net->parameters().size(); ++i) {
      Tensor mine = job.net->parameters()[i], its = job.reference->parameters()[i];
      torch::manual_seed(100 + static_cast<int64_t>(i));
      const Tensor gradient = torch::randn(its.sizes(), torch::kDouble);
      mine.mutable_grad() = gradient.clone();
      its.mutable_grad() = gradient.clone();
    }
    job.optimizer.step();
    job.reference_optimizer.step();
    CHECK(job.error() < kExact);
  }

  TEST_CASE("4: parameters whose data the user replaced are taken back, or refused") {
    Job job;
    job.step();
    job.reference_step();
    torch::manual_seed(5);
    const Tensor values = torch::randn({16, 16}, torch::kDouble);
    job.net->second->weight.set_data(values.clone());
    job.reference->second->weight.set_data(values.clone());
    job.step();
    job.reference_step();
    CHECK(job.error() < kExact);
    std::stringstream stream;
    torch::save(job.reference, stream);
    torch::load(job.net, stream);
    CHECK(job.error() < kExact);
    job.step();
    job.reference_step();
    CHECK(job.error() < kExact);
    job.net->to(torch::kFloat);
    CHECK_THROWS_WITH_AS(job.model->forward(own(job.x).to(torch::kFloat)),
                         doctest::Contains("was replaced after setup"), fabric::RoutingError);
  }

  TEST_CASE("5: raw access to what is not there throws, torch::save included") {
    Job job;
    CHECK_THROWS_WITH((void)job.net->first->weight.data_ptr<double>(),
                      doctest::Contains("raw access to a sharded parameter of unit 'first'"));
    std::stringstream stream;
    CHECK_THROWS_WITH(torch::save(job.net, stream),
                      doctest::Contains("raw access to a sharded parameter"));
    CHECK(job.error() < kExact);
  }

  TEST_CASE("6: backward through weights that were updated after forward throws") {
    Job job;
    const Tensor loss = job.loss();
    job.step();
    CHECK_THROWS_WITH(job.fabric.backward(loss), doctest::Contains("modified by an inplace"));
    job.reference_step();
    // The same with a step of the raw optimizer.
    const Tensor again = job.loss();
    job.optimizer.zero_grad();
    job.fabric.backward(job.loss());
    job.reference->zero_grad();
    job.reference_loss().backward();
    job.optimizer.optimizer().step();
    job.reference_optimizer.step();
    CHECK_THROWS_WITH(job.fabric.backward(again), doctest::Contains("updated after the forward"));
    job.step();
    job.reference_step();
    CHECK(job.error() < kExact);
  }

  TEST_CASE("8: gradients of gradients in .grad are refused") {
    Job job;
    CHECK_THROWS_WITH(job.fabric.backward(job.loss(), {}, std::nullopt, /*create_graph=*/true),
                      doctest::Contains("create_graph"));
    job.net->zero_grad();
    job.step();
    job.reference_step();
    CHECK(job.error() < kExact);
  }

  TEST_CASE("8: a gradient penalty by autograd::grad trains like one process") {
    Job job;
    const auto penalised = [](MLP& net, const Tensor& x) {
      const Tensor input = x.detach().clone().requires_grad_();
      const Tensor output = net->forward(input);
      const Tensor slope =
          torch::autograd::grad({output.sum()}, {input}, {}, true, /*create_graph=*/true)[0];
      return output.square().mean() + slope.square().mean();
    };
    for (int step = 0; step < 3; ++step) {
      job.reference_optimizer.zero_grad();
      penalised(job.reference, job.x).backward();
      job.reference_optimizer.step();
      job.optimizer.zero_grad();
      job.fabric.backward(
          job.fabric.routed([&] { return penalised(job.net, own(job.x)); }, job.model));
      job.optimizer.step();
    }
    CHECK(job.error() < kExact);
  }

  TEST_CASE("10: a loss of one rank that reaches no parameter, or only some of a unit") {
    Job job;
    const bool reaches = fabric::world().rank == 0;
    const double world = fabric::world().size;
    // On the other ranks the loss is a constant: the mean is rank 0's part.
    const Tensor output = job.model->forward(own(job.x)).square().mean();
    job.fabric.backward(reaches ? output : torch::zeros({1}, torch::kDouble).requires_grad_());
    Tensor first = part(job.x, 0, static_cast<int>(world));
    (job.reference->forward(first).square().mean() / world).backward();
    job.optimizer.step();
    job.reference_optimizer.step();
    CHECK(job.error() < kExact);
    job.optimizer.zero_grad();
    job.reference_optimizer.zero_grad();
    // A bias only on rank 0, weight and bias on the others.
    Tensor partly = job.net->second->bias.sum();
    const Tensor weight = job.net->second->weight.sum();
    if (!reaches) {
      partly = partly + weight;
    }
    job.fabric.backward(partly);
    (job.reference->second->bias.sum() +
     job.reference->second->weight.sum() * ((world - 1) / world))
        .backward();
    if (world == 1) {
      job.reference->second->weight.mutable_grad().reset();
    }
    job.optimizer.step();
    job.reference_optimizer.step();
    CHECK(job.error() < kExact);
  }

  TEST_CASE("14: an operator on parameters of several units") {
    Job job;
    for (int step = 0; step < 3; ++step) {
      const auto loss = [](MLP& net) {
        return torch::cat({net->first->weight.view(-1), net->second->weight.view(-1),
                           net->third->weight.view(-1), net->third->bias})
            .square()
            .sum();
      };
      job.optimizer.zero_grad();
      job.fabric.backward(job.fabric.routed([&] { return loss(job.net); }, job.model));
      job.optimizer.step();
      job.reference_optimizer.zero_grad();
      loss(job.reference).backward();
      job.reference_optimizer.step();
    }
    CHECK(job.error() < kExact);
  }

  TEST_CASE("15: a ddp student beside an fsdp teacher") {
    Job job;
    fabric::Fabric ddp({.strategy = "ddp"});
    ddp.launch();
    MLP student = double_net<MLP>();
    auto student_model = ddp.setup(student);
    auto optimizer = ddp.setup_optimizers(torch::optim::SGD(student->parameters(), 0.1));
    MLP reference = double_net<MLP>();
    torch::optim::SGD reference_optimizer(reference->parameters(), 0.1);
    job.step();
    job.reference_step();
    for (int step = 0; step < 3; ++step) {
      optimizer.zero_grad();
      const Tensor target = [&] {
        const torch::NoGradGuard no_grad;
        return job.model->forward(own(job.x));
      }();
      ddp.backward(torch::mse_loss(student_model->forward(own(job.x)), target));
      optimizer.step();
      reference_optimizer.zero_grad();
      torch::mse_loss(reference->forward(job.x), job.reference->forward(job.x).detach()).backward();
      reference_optimizer.step();
    }
    CHECK(distance(student->parameters(), reference->parameters()) < kExact);
  }

  TEST_CASE("19: sparse gradients") {
    fabric::Fabric fabric({.strategy = "fsdp"});
    fabric.launch();
    const auto make = [] {
      return with_seed(4, [] {
        torch::nn::Embedding net(torch::nn::EmbeddingOptions(9, 3).sparse(true));
        net->to(torch::kDouble);
        return net;
      });
    };
    torch::nn::Embedding net = make(), reference = make();
    auto model = fabric.setup(net);
    auto optimizer = fabric.setup_optimizers(torch::optim::SGD(net->parameters(), 0.1));
    torch::manual_seed(2);
    const Tensor whole = torch::randint(9, {4L * fabric.world_size()});
    fabric.backward(model->forward(own(whole)).square().mean());
    optimizer.step();
    reference->forward(whole).square().mean().backward();
    const torch::NoGradGuard no_grad;
    const Tensor expected = reference->weight - 0.1 * reference->weight.grad().to_dense();
    CHECK(distance({net->weight.clone()}, {expected}) < kExact);
  }
}
