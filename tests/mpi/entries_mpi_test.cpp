// Every kind of entry under every strategy: gradients of the sum over ranks equal those of one
// process, routed, unrouted, through a submodule and a regulariser. Runs at 1, 2, 3 and 4 ranks.
#include <doctest/doctest.h>

#include <array>
#include <thread>

#include <torch/script.h>
#include <torch/torch.h>

#include <fabric/fabric.h>

#include <tests/support/captured_log.h>
#include <tests/support/training.h>

namespace {

using support::distance;
using support::part;
using support::with_seed;
using torch::Tensor;

constexpr double kExact = 1e-12;  // fp64

struct NetImpl : torch::nn::Module {
  NetImpl()
      : body(register_module("body", torch::nn::Linear(4, 4))),
        head(register_module("head", torch::nn::Linear(4, 2))),
        norm(register_module(
            "norm", torch::nn::BatchNorm1d(torch::nn::BatchNorm1dOptions(4).affine(false)))) {}

  Tensor forward(Tensor x) { return head(torch::tanh(body(x))); }

  FABRIC_INFERENCE_ENTRY(marked)
  Tensor marked(Tensor x) { return forward(x).square(); }
  FABRIC_INFERENCE_ENTRY(only_parameters)
  Tensor only_parameters(Tensor x) { return torch::matmul(x, body->weight.t()).sin(); }
  FABRIC_INFERENCE_ENTRY(local, .sync = false)
  Tensor local(Tensor x) { return forward(x); }
  FABRIC_INFERENCE_ENTRY(normalised)
  Tensor normalised(Tensor x) { return head(norm(body(x))); }
  FABRIC_INFERENCE_ENTRY(evaluated, .mode = "eval")
  Tensor evaluated(Tensor x) { return normalised(x); }
  Tensor encode(Tensor x) { return torch::tanh(body(x)); }

  torch::nn::Linear body, head;
  torch::nn::BatchNorm1d norm;
};
TORCH_MODULE(Net);

Net double_net() {
  return with_seed(3, [] {
    Net net;
    net->to(torch::kDouble);
    return net;
  });
}

Tensor inputs() {
  torch::manual_seed(5);
  return torch::randn({3L * fabric::world().size, 4}, torch::kDouble);
}
Tensor own(const Tensor& whole) {
  return part(whole, fabric::world().rank, fabric::world().size);
}

std::vector<Tensor> gradients(const Net& net) {
  std::vector<Tensor> list;
  for (const Tensor& parameter : net->parameters()) {
    list.push_back(parameter.grad().defined() ? parameter.grad().clone()
                                              : torch::zeros_like(parameter));
  }
  return list;
}

using Loss = std::function<Tensor(NetImpl&, Tensor)>;

struct Way {
  const char* name;
  Loss plain;  // the same on a module of one process
  std::function<Tensor(fabric::Fabric&, fabric::FabricModule<NetImpl>&, NetImpl&, Tensor)> call;
};

struct Job {
  explicit Job(fabric::FabricOptions options = {.strategy = "ddp"}) : fabric(options) {
    fabric.launch();
    model = fabric.setup(net);
  }
  void backward(const Tensor& loss, bool with_fabric) {
    if (with_fabric) {
      fabric.backward(loss);
    } else {
      loss.backward();
    }
  }
  double world() const { return fabric.world_size(); }

  fabric::Fabric fabric;
  Net net = double_net();
  fabric::FabricModule<NetImpl> model;
};

std::vector<Way> ways() {
  const Loss forward = [](NetImpl& net, Tensor x) { return net.forward(x); };
  const Loss encode = [](NetImpl& net, Tensor x) { return net.encode(x); };
  return {
      {"forward", forward, [](auto&, auto& model, auto&, Tensor x) { return model->forward(x); }},
      {"marked", [](NetImpl& net, Tensor x) { return net.marked(x); },
       [](auto&, auto& model, auto&, Tensor x) { return model->marked(x); }},
      {"marked, parameters only", [](NetImpl& net, Tensor x) { return net.only_parameters(x); },
       [](auto&, auto& model, auto&, Tensor x) { return model->only_parameters(x); }},
      {"registered method", encode,
       [](auto&, auto& model, auto&, Tensor x) {
         return model->register_forward_method(&NetImpl::encode)(x);
       }},
      {"registered function", forward,
       [](auto&, auto& model, auto&, Tensor x) {
         return model->register_forward_method(
             "function", [](NetImpl& net, Tensor y) { return net.forward(y); })(x);
       }},
      {"routed()", encode,
       [](auto& fabric, auto& model, auto& net, Tensor x) {
         return fabric.routed([&] { return net.encode(x); }, model);
       }},
      {"unrouted method", [](NetImpl& net, Tensor x) { return net.marked(x); },
       [](auto&, auto&, auto& net, Tensor x) { return net.marked(x); }},
      {"unrouted submodule", [](NetImpl& net, Tensor x) { return net.body(x); },
       [](auto&, auto&, auto& net, Tensor x) { return net.body(x); }},
      {"unrouted parameter",
       [](NetImpl& net, Tensor x) { return torch::matmul(x, net.body->weight); },
       [](auto&, auto&, auto& net, Tensor x) { return torch::matmul(x, net.body->weight); }},
      {"regulariser on a routed loss",
       [](NetImpl& net, Tensor x) {
         return net.forward(x) + net.body->weight.square().sum() * torch::ones({x.size(0), 2});
       },
       [](auto&, auto& model, auto& net, Tensor x) {
         return model->forward(x) + net.body->weight.square().sum() * torch::ones({x.size(0), 2});
       }},
      {"evaluated",
       [](NetImpl& net, Tensor x) {
         net.eval();
         const Tensor result = net.normalised(x);
         net.train();
         return result;
       },
       [](auto&, auto& model, auto&, Tensor x) { return model->evaluated(x); }},
  };
}

}  // namespace

TEST_SUITE("mpi.entries") {
  TEST_CASE("every way of calling, with both backwards, gives the gradients of one process") {
    const Tensor whole = inputs();
    for (const std::string strategy :
         {"ddp", "fsdp", "fsdp(units=Linear)", "fsdp(sharding=grad_op, units=Linear)",
          "fsdp(sharding=none)", "single_device"}) {
      if (strategy == "single_device" && fabric::world().size > 1) {
        continue;
      }
      for (const bool with_fabric : {true, false}) {
        for (const Way& way : ways()) {
          CAPTURE(strategy);
          CAPTURE(with_fabric);
          CAPTURE(way.name);
          Net reference = double_net();
          way.plain(*reference, whole).sum().backward();
          Job job({.strategy = strategy});
          // The mean over ranks of sums over a part each, times the ranks, is the sum of the whole.
          job.backward(way.call(job.fabric, job.model, *job.net, own(whole)).sum() * job.world(),
                       with_fabric);
          CHECK(distance(gradients(job.net), gradients(reference)) < kExact);
        }
      }
    }
  }

  TEST_CASE("train, evaluate, generate: switching needs no second setup") {
    Job job;
    auto& [fabric, net, model] = job;
    auto optimizer = fabric.setup_optimizers(torch::optim::SGD(model->parameters(), 0.1));
    for (int step = 0; step < 3; ++step) {
      optimizer.zero_grad();
      fabric.backward(model->normalised(own(inputs())).square().mean());
      optimizer.step();
      const Tensor before = net->norm->running_mean.clone();
      {
        const torch::NoGradGuard no_grad;
        if (fabric.is_global_zero()) {
          model->evaluated(own(inputs()));  // on one rank alone: nothing in it is collective
        }
      }
      CHECK(torch::equal(net->norm->running_mean, before));
      CHECK(net->is_training());
    }
    const std::vector<Tensor> mine = net->parameters();
    for (const Tensor& parameter : mine) {
      CHECK(torch::equal(parameter, fabric.broadcast(parameter.detach().clone())));
    }
  }

  TEST_CASE("gradients of entries with sync = false stay on the rank until the next that has it") {
    const Tensor whole = inputs();
    for (const bool with_fabric : {true, false}) {
      CAPTURE(with_fabric);
      Job job;
      auto& [fabric, net, model] = job;
      const double world = job.world();
      Net alone = double_net();
      alone->forward(own(whole)).sum().backward();
      if (fabric.is_global_zero()) {  // this rank only: not collective
        job.backward(model->local(own(whole)).sum(), with_fabric);
        CHECK(distance(gradients(net), gradients(alone)) < kExact);
        net->zero_grad();
      }
      job.backward(model->local(own(whole)).sum() * world, with_fabric);
      std::vector<Tensor> scaled = gradients(alone);
      for (Tensor& gradient : scaled) {
        gradient *= world;
      }
      CHECK(distance(gradients(net), scaled) < kExact);
      job.backward(model->forward(own(whole)).sum() * world, with_fabric);
      Net reference = double_net();
      (2 * reference->forward(whole).sum()).backward();
      CHECK(distance(gradients(net), gradients(reference)) < kExact);
      // The synchronising call has been used up by its backward.
      net->zero_grad();
      job.backward(model->local(own(whole)).sum(), with_fabric);
      CHECK(distance(gradients(net), gradients(alone)) < kExact);
    }
  }

  TEST_CASE("buffers that were not sent are warned of once, on rank 0") {
    Job job;
    auto& [fabric, net, model] = job;
    support::CapturedLog log;
    fabric.backward(model->normalised(own(inputs())).sum());
    CHECK(log.text().empty());
    net->eval();
    fabric.backward(net->normalised(own(inputs())).sum());  // in evaluation nothing is sent
    net->train();
    CHECK(log.text().empty());
    fabric.backward(net->normalised(own(inputs())).sum());
    fabric.backward(net->normalised(own(inputs())).sum());
    const std::string text = log.text();
    const bool warned = text.find(
                            "without the buffers of rank 0; its gradients are synchronised all "
                            "the same") != std::string::npos;
    CHECK(warned == (fabric.is_global_zero() && fabric.world_size() > 1));
    CHECK(text.find("[fabric.unrouted]") == text.rfind("[fabric.unrouted]"));
  }

  TEST_CASE("synchronised batch normalisation works beside the guard") {
    const Tensor whole = inputs();
    Net reference = double_net();
    reference->normalised(whole).square().sum().backward();
    Job job({.strategy = "ddp", .unrouted = "error"});
    auto& [fabric, net, model] = job;
    fabric.convert_sync_batchnorm(model);
    fabric.backward(model->normalised(own(whole)).square().sum() *
                    static_cast<double>(fabric.world_size()));
    CHECK(distance(gradients(net), gradients(reference)) < 1e-9);
    CHECK_THROWS_AS(net->normalised(own(whole)), fabric::RoutingError);
  }

  TEST_CASE("two threads call two models at the same time, buffers of rank 0 and all") {
    const Tensor whole = inputs();
    fabric::Fabric fabric({.strategy = "ddp", .unrouted = "error"});
    fabric.launch();
    Net nets[] = {double_net(), double_net()};
    std::array<fabric::FabricModule<NetImpl>, 2> models{fabric.setup(nets[0]),
                                                        fabric.setup(nets[1])};
    std::array<Tensor, 2> losses;
    const auto work = [&](std::size_t i) {
      for (int call = 0; call < 20; ++call) {
        const Tensor loss = models[i]->normalised(own(whole)).square().sum();
        losses[i] = call == 0 ? loss : losses[i] + loss;
        models[i]->marked(own(whole));
      }
    };
    std::thread first(work, 0), second(work, 1);
    first.join();
    second.join();
    fabric.backward((losses[0] + 2 * losses[1]) / 20);
    CHECK(distance(nets[0]->buffers(), nets[1]->buffers()) == 0);
    const std::vector<Tensor> one = gradients(nets[0]);
    std::vector<Tensor> two = gradients(nets[1]);
    for (Tensor& gradient : two) {
      gradient /= 2;
    }
    CHECK(distance(one, two) < kExact);
    CHECK(one.front().abs().sum().item<double>() > 0);
    for (const Tensor& gradient : one) {  // synchronised: the same on every rank
      CHECK(distance({fabric.mean(gradient)}, {gradient}) < kExact);
    }
  }

  TEST_CASE("methods of a TorchScript model are synchronised, routed or not") {
    const Tensor whole = inputs();
    for (const bool routed : {true, false}) {
      torch::jit::Module script("Scripted");
      torch::manual_seed(2);
      script.register_parameter(
          "weight", torch::randn({4, 4}, torch::dtype(torch::kDouble).requires_grad(true)), false);
      script.define(
          "def forward(self, x):\n    return torch.matmul(x, self.weight)\n"
          "def encode(self, x):\n    return torch.tanh(self.forward(x))\n");
      Tensor weight = script.attr("weight").toTensor().detach().clone().requires_grad_();
      torch::tanh(torch::matmul(whole, weight)).sum().backward();

      fabric::Fabric fabric({.strategy = "ddp"});
      fabric.launch();
      auto model = fabric.setup(script);
      auto encode = model.register_forward_method("encode");
      for (int step = 0; step < 4; ++step) {  // the profiling executor changes its mind on the way
        model->zero_grad();
        const Tensor result =
            (routed ? encode(own(whole)) : script.get_method("encode")({own(whole)})).toTensor();
        fabric.backward(result.sum() * static_cast<double>(fabric.world_size()));
        CHECK((model->parameters()[0].grad() - weight.grad()).abs().max().item<double>() < kExact);
      }
    }
  }
}
