// FSDP against one process on the concatenated batch: the same numbers, whatever used the
// parameters. Runs at 1, 2, 3 and 4 ranks.
#include <doctest/doctest.h>

#include <chrono>
#include <sstream>
#include <thread>

#include <torch/torch.h>

#include <tests/support/counted_memory.h>
#include <tests/support/sharding.h>

namespace {

using support::distance;
using support::double_net;
using support::kExact;
using support::MLP;
using support::own;
using support::rows;
using support::Twin;
using support::with_seed;
using torch::Tensor;

struct Job {
  explicit Job(fabric::FSDPOptions options = support::kLinearUnits)
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

struct ConvNetImpl : torch::nn::Module {
  ConvNetImpl()
      : features(register_module(
            "features",
            torch::nn::Sequential(torch::nn::Conv2d(torch::nn::Conv2dOptions(2, 5, 3).bias(false)),
                                  torch::nn::BatchNorm2d(5), torch::nn::ReLU(),
                                  torch::nn::Conv2d(torch::nn::Conv2dOptions(5, 4, 3)),
                                  torch::nn::BatchNorm2d(4)))),
        head(register_module("head", torch::nn::Linear(4, 3))) {}
  Tensor forward(Tensor x) { return head(features->forward(x).mean({2, 3})); }
  torch::nn::Sequential features;
  torch::nn::Linear head;
};
TORCH_MODULE(ConvNet);

struct LSTMNetImpl : torch::nn::Module {
  LSTMNetImpl()
      : lstm(register_module(
            "lstm",
            torch::nn::LSTM(
                torch::nn::LSTMOptions(5, 7).num_layers(2).bidirectional(true).batch_first(true)))),
        head(register_module("head", torch::nn::Linear(14, 3))) {}
  Tensor forward(Tensor x) { return head(std::get<0>(lstm(x))); }
  torch::nn::LSTM lstm;
  torch::nn::Linear head;
};
TORCH_MODULE(LSTMNet);

struct AttentionNetImpl : torch::nn::Module {
  AttentionNetImpl()
      : attention(register_module("attention", torch::nn::MultiheadAttention(8, 2))),
        norm(register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({8})))) {}
  Tensor forward(Tensor x) {  // (batch, time, 8)
    const Tensor time_first = x.transpose(0, 1);
    return norm(std::get<0>(attention(time_first, time_first, time_first)) + time_first);
  }
  torch::nn::MultiheadAttention attention;
  torch::nn::LayerNorm norm;
};
TORCH_MODULE(AttentionNet);

struct TransformerNetImpl : torch::nn::Module {
  TransformerNetImpl()
      : transformer(register_module("transformer",
                                    torch::nn::Transformer(torch::nn::TransformerOptions(8, 2)
                                                               .num_encoder_layers(2)
                                                               .num_decoder_layers(2)
                                                               .dim_feedforward(16)
                                                               .dropout(0.0)))) {}
  Tensor forward(Tensor x) {
    const Tensor time_first = x.transpose(0, 1);
    return transformer(time_first, time_first);
  }
  torch::nn::Transformer transformer;
};
TORCH_MODULE(TransformerNet);

struct BlockImpl : torch::nn::Module {
  explicit BlockImpl(int64_t width)
      : first(register_module("first", torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})))),
        qkv(register_module("qkv", torch::nn::Linear(width, 3 * width))),
        out(register_module("out", torch::nn::Linear(width, width))),
        second(
            register_module("second", torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})))),
        up(register_module("up", torch::nn::Linear(width, 4 * width))),
        down(register_module("down", torch::nn::Linear(4 * width, width))) {}
  Tensor forward(Tensor x) {
    const auto parts = qkv(first(x)).chunk(3, -1);
    x = x + out(torch::scaled_dot_product_attention(parts[0], parts[1], parts[2], {}, 0.0, true));
    return x + down(torch::gelu(up(second(x))));
  }
  torch::nn::LayerNorm first;
  torch::nn::Linear qkv, out;
  torch::nn::LayerNorm second;
  torch::nn::Linear up, down;
};
TORCH_MODULE(Block);

constexpr int64_t kTokens = 11;

/// A GPT whose head is its embedding.
struct GPTImpl : torch::nn::Module {
  GPTImpl()
      : embedding(register_module("embedding", torch::nn::Embedding(kTokens, 8))),
        position(register_parameter("position", 0.1 * torch::randn({6, 8}))),
        blocks(register_module("blocks", torch::nn::ModuleList())),
        norm(register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({8})))) {
    for (int i = 0; i < 3; ++i) {
      blocks->push_back(Block(8));
    }
  }
  Tensor forward(Tensor tokens) {
    Tensor x = embedding(tokens) + position.narrow(0, 0, tokens.size(1));
    for (const auto& block : *blocks) {
      x = block->as<BlockImpl>()->forward(x);
    }
    return torch::linear(norm(x), embedding->weight);
  }
  FABRIC_INFERENCE_ENTRY(generate, .grad = "off", .mode = "eval")
  Tensor generate(Tensor tokens, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      const Tensor last = forward(tokens).select(1, -1).argmax(-1, true);
      tokens = torch::cat({tokens, last}, 1);
    }
    return tokens;
  }
  torch::nn::Embedding embedding;
  Tensor position;
  torch::nn::ModuleList blocks;
  torch::nn::LayerNorm norm;
};
TORCH_MODULE(GPT);

Tensor tokens() {
  torch::manual_seed(3);
  return torch::randint(kTokens, {4L * fabric::world().size, 4});
}

Tensor gpt_loss(GPT& net, Tensor tokens) {
  const Tensor logits = net->forward(tokens.narrow(1, 0, 3));
  return torch::nn::functional::cross_entropy(logits.flatten(0, 1),
                                              tokens.narrow(1, 1, 3).flatten());
}

/// Takes one of two ways, by the step.
struct BranchNetImpl : torch::nn::Module {
  BranchNetImpl()
      : body(register_module("body", torch::nn::Linear(6, 6))),
        left(register_module("left", torch::nn::Linear(6, 6))),
        right(register_module("right", torch::nn::Linear(6, 6))) {}
  Tensor forward(Tensor x, bool go_left) {
    x = torch::tanh(body(x));
    return go_left ? left(x) : right(torch::tanh(left(x)));
  }
  Tensor only(Tensor x, bool go_left) {
    x = torch::tanh(body(x));
    return go_left ? left(x) : right(x);
  }
  torch::nn::Linear body, left, right;
};
TORCH_MODULE(BranchNet);

/// Bytes that are live, once a progress thread has let go of the tensors of its last collective,
/// which may be a moment after the wait for that.
double live_at_rest(const support::CountedMemory& memory, double expected) {
  for (int i = 0; i < 200 && static_cast<double>(memory.live()) > expected; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return static_cast<double>(memory.live());
}

template <class Net>
std::function<Tensor(Net&, Tensor)> square_loss() {
  return [](Net& net, Tensor x) { return net->forward(x).square().mean(); };
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

  TEST_CASE("LSTM, attention, Transformer and a GPT with a tied embedding train like one process") {
    // Not Adam: it divides gradients that are zero but for rounding (the bias of attention's keys)
    // by their own size.
    using torch::optim::SGD;
    const auto options = torch::optim::SGDOptions(0.1).momentum(0.9);
    compare<SGD, LSTMNet>(double_net<LSTMNet>, square_loss<LSTMNet>(), rows({3, 5}), options,
                          {.units = {"LSTM", "Linear"}});
    compare<SGD, AttentionNet>(double_net<AttentionNet>, square_loss<AttentionNet>(), rows({3, 8}),
                               options, {.units = {"MultiheadAttention"}});
    compare<SGD, TransformerNet>(double_net<TransformerNet>, square_loss<TransformerNet>(),
                                 rows({3, 8}), options,
                                 {.units = {"TransformerEncoderLayer", "TransformerDecoderLayer"}});
    compare<SGD, GPT>(double_net<GPT>, gpt_loss, tokens(), options, {.units = {"Block"}});
    compare<SGD, GPT>(
        double_net<GPT>, gpt_loss, tokens(), options,
        {.units = fabric::units_of<torch::nn::LinearImpl, torch::nn::EmbeddingImpl>()});
  }

  TEST_CASE("a conv net with synchronised BatchNorm trains like one process") {
    const Tensor x = rows({2, 8, 8});
    Twin<ConvNet> twin(0.1, {.units = {"Conv2d", "BatchNorm2d", "Linear"}});
    twin.fabric.convert_sync_batchnorm(twin.model);
    for (int i = 0; i < 4; ++i) {
      twin.step(x);
    }
    CHECK(twin.error() < kExact);
    CHECK(distance(twin.net->buffers(), twin.reference->buffers()) < kExact);
  }

  TEST_CASE("plain calls and plain backwards of the user's own objects are sharded as well") {
    const Tensor x = rows({6});
    MLP reference = double_net<MLP>();
    torch::optim::SGD reference_optimizer(reference->parameters(), 0.1);
    Job job;
    MLP net = double_net<MLP>();
    job.fabric.setup(net);  // results discarded on purpose
    torch::optim::SGD optimizer(net->parameters(), 0.1);
    job.fabric.setup_optimizers(optimizer);
    for (int step = 0; step < 4; ++step) {
      reference_optimizer.zero_grad();
      mlp_loss(reference, x).backward();
      reference_optimizer.step();
      if (step % 2 == 0) {
        optimizer.zero_grad();
      } else {
        net->zero_grad();
      }
      mlp_loss(net, own(x)).backward();
      optimizer.step();
    }
    CHECK(distance(net->parameters(), reference->parameters()) < kExact);
  }

  TEST_CASE("branches on which the ranks agree change the order without wrong numbers") {
    const Tensor x = rows({6});
    Twin<BranchNet, torch::optim::AdamW> twin(0.01);
    for (int i = 0; i < 8; ++i) {
      const bool left = i % 3 == 0;
      twin.step([&] { twin.reference->forward(x, left).square().mean().backward(); },
                [&] { twin.fabric.backward(twin.model->forward(own(x), left).square().mean()); });
    }
    CHECK(twin.error() < kExact);
  }

  TEST_CASE("a branch on which the ranks differ is an error that names both units") {
    if (fabric::world().size == 1) {
      return;
    }
    Twin<BranchNet> twin(0.1);
    auto only = twin.model->register_forward_method(&BranchNetImpl::only);
    std::string text;
    try {
      only(own(rows({6})), fabric::world().rank == 0);
    } catch (const fabric::CommunicationError& error) {
      text = error.what();
    }
    CHECK(text.find("'left'") != std::string::npos);
    CHECK(text.find("'right'") != std::string::npos);
    // The model is usable afterwards.
    const torch::NoGradGuard no_grad;
    CHECK(distance({twin.model->forward(own(rows({6})), false)},
                   {twin.reference->forward(own(rows({6})), false)}) < kExact);
  }

  TEST_CASE("generate, then train, then generate") {
    Twin<GPT> twin(0.5, {.units = {"Block"}});
    const Tensor prompt = tokens().narrow(1, 0, 2);
    const auto same_text = [&] {
      return torch::equal(twin.model->generate(prompt, 3), twin.reference->generate(prompt, 3));
    };
    for (int i = 0; i < 3; ++i) {
      CHECK(same_text());
      twin.step([&] { gpt_loss(twin.reference, tokens()).backward(); },
                [&] {
                  twin.fabric.backward(twin.fabric.routed(
                      [&] { return gpt_loss(twin.net, own(tokens())); }, twin.model));
                });
    }
    CHECK(same_text());
    CHECK(twin.error() < kExact);
  }

  TEST_CASE("two forwards, one backward; two backwards, one step") {
    const Tensor x = rows({6}), y = rows({6}, 9);
    Twin<MLP> twin(0.1);
    for (int i = 0; i < 3; ++i) {
      twin.step(
          [&] {
            (mlp_loss(twin.reference, x) + twin.reference->forward(y).mean()).backward();
            mlp_loss(twin.reference, y).backward();
          },
          [&] {
            const Tensor first = twin.model->forward(own(x)), second = twin.model->forward(own(y));
            twin.fabric.backward(first.square().mean() + second.mean());
            twin.fabric.backward(twin.model->forward(own(y)).square().mean());
          });
    }
    CHECK(twin.error() < kExact);
  }

  TEST_CASE("accumulation keeps whole gradients until the last micro-batch") {
    const Tensor x = rows({6}), y = rows({6}, 9);
    Twin<MLP, torch::optim::AdamW> twin(0.01);
    for (int i = 0; i < 3; ++i) {
      twin.step(
          [&] {
            mlp_loss(twin.reference, x).backward();
            mlp_loss(twin.reference, y).backward();
          },
          [&] {
            const auto before = twin.engine().events().reductions;
            {
              const auto guard = twin.fabric.no_backward_sync(twin.model);
              twin.fabric.backward(twin.model->forward(own(x)).square().mean());
              CHECK(twin.engine().events().reductions == before);
            }
            twin.fabric.backward(twin.model->forward(own(y)).square().mean());
          });
    }
    CHECK(twin.error() < kExact);
  }

  TEST_CASE("a GAN with two optimizers trains like one process") {
    const Tensor noise = rows({6}), real = rows({3}, 9);
    const auto step = [&](auto& generator, auto& critic, auto& generator_step, auto& critic_step,
                          auto backward, const Tensor& z, const Tensor& data) {
      critic_step.zero_grad();
      backward(critic->forward(generator->forward(z).detach()).mean() -
               critic->forward(data).mean());
      critic_step.step();
      generator_step.zero_grad();
      backward(-critic->forward(generator->forward(z)).mean());
      generator_step.step();
    };
    const auto make_critic = [] {
      return with_seed(5, [] {
        MLP net(3, 8, 1);
        net->to(torch::kDouble);
        return net;
      });
    };
    MLP generator = double_net<MLP>(), critic = make_critic();
    torch::optim::Adam generator_step(generator->parameters(), 0.01);
    torch::optim::Adam critic_step(critic->parameters(), 0.01);
    Job job;
    MLP generator_net = double_net<MLP>(), critic_net = make_critic();
    auto generator_model = job.fabric.setup(generator_net);
    auto critic_model = job.fabric.setup(critic_net);
    auto [generator_optimizer, critic_optimizer] =
        job.fabric.setup_optimizers(torch::optim::Adam(generator_model->parameters(), 0.01),
                                    torch::optim::Adam(critic_model->parameters(), 0.01));
    for (int i = 0; i < 3; ++i) {
      step(
          generator, critic, generator_step, critic_step,
          [](const Tensor& loss) { loss.backward(); }, noise, real);
      step(
          generator_model, critic_model, generator_optimizer, critic_optimizer,
          [&](const Tensor& loss) { job.fabric.backward(loss); }, own(noise), own(real));
    }
    CHECK(distance(generator_net->parameters(), generator->parameters()) < kExact);
    CHECK(distance(critic_net->parameters(), critic->parameters()) < kExact);
  }

  TEST_CASE("a frozen backbone stays as it is; frozen and unfrozen at any time") {
    const Tensor x = rows({6});
    const auto make = [](int64_t seed) {
      MLP net = double_net<MLP>(seed);
      for (Tensor& parameter : net->first->parameters()) {
        parameter.set_requires_grad(false);
      }
      return net;
    };
    for (const fabric::FSDPOptions& strategy :
         {fabric::FSDPOptions{.units = {"Linear"}}, fabric::FSDPOptions{}}) {
      Twin<MLP, torch::optim::AdamW> twin(torch::optim::AdamWOptions(0.01).weight_decay(0.1),
                                          strategy, make);
      for (int i = 0; i < 6; ++i) {
        for (MLP* net : {&twin.reference, &twin.net}) {
          (*net)->second->weight.set_requires_grad(i % 2 == 0);
        }
        twin.step(x);
      }
      CHECK(twin.error() < kExact);
    }
  }

  TEST_CASE("parameter groups keep their own hyper-parameters") {
    using torch::optim::AdamW;
    using torch::optim::AdamWOptions;
    const Tensor x = rows({6});
    const auto groups = [](MLP& net) {
      std::vector<Tensor> weights, biases;
      for (const auto& item : net->named_parameters()) {
        (item.key().find("bias") == std::string::npos ? weights : biases).push_back(item.value());
      }
      std::vector<torch::optim::OptimizerParamGroup> list;
      list.emplace_back(weights,
                        std::make_unique<AdamWOptions>(AdamWOptions(0.01).weight_decay(0.2)));
      list.emplace_back(biases, std::make_unique<AdamWOptions>(AdamWOptions(0.05).weight_decay(0)));
      return list;
    };
    Twin<MLP, AdamW> twin(0.01, fabric::FSDPOptions{});
    twin.reference_optimizer.param_groups() = groups(twin.reference);
    twin.optimizer = twin.fabric.setup_optimizers(AdamW(groups(twin.net)));
    for (int i = 0; i < 4; ++i) {
      twin.step(x);
    }
    CHECK(twin.error() < kExact);
  }

  TEST_CASE("an optimizer that was stepped before keeps its state") {
    const Tensor x = rows({6});
    MLP reference = double_net<MLP>(), net = double_net<MLP>();
    torch::optim::Adam reference_optimizer(reference->parameters(), 0.01);
    torch::optim::Adam own_optimizer(net->parameters(), 0.01);
    const auto plain_step = [&](MLP& one, auto& optimizer) {
      optimizer.zero_grad();
      mlp_loss(one, x).backward();
      optimizer.step();
    };
    plain_step(reference, reference_optimizer);
    plain_step(net, own_optimizer);
    Job job;
    auto model = job.fabric.setup(net);
    auto optimizer = job.fabric.setup_optimizers(own_optimizer);
    for (int step = 0; step < 3; ++step) {
      plain_step(reference, reference_optimizer);
      optimizer.zero_grad();
      job.fabric.backward(model->forward(own(x)).square().mean());
      optimizer.step();
    }
    CHECK(distance(net->parameters(), reference->parameters()) < kExact);
  }

  TEST_CASE("optimizers that look at whole parameters are refused") {
    Job job;
    auto model = job.fabric.setup(double_net<MLP>());
    CHECK_THROWS_WITH_AS(job.fabric.setup_optimizers(torch::optim::LBFGS(model->parameters(), 1.0)),
                         doctest::Contains("cannot work on shards of MLP"),
                         fabric::MisconfigurationError);
  }

  TEST_CASE("unsharded parameters are bounded by the two largest units") {
    Job job;
    std::int64_t largest = 0;
    auto model = job.fabric.setup(torch::nn::Sequential(
        torch::nn::Linear(64, 64), torch::nn::Linear(64, 64), torch::nn::Linear(64, 64),
        torch::nn::Linear(64, 64), torch::nn::Linear(64, 64), torch::nn::Linear(64, 64)));
    auto optimizer = job.fabric.setup_optimizers(torch::optim::SGD(model->parameters(), 0.1));
    const fabric::ShardedModel& sharded = engine(model);
    for (std::size_t u = 0; u < sharded.size(); ++u) {
      largest = std::max(largest, sharded.unit(u).nbytes());
    }
    for (int step = 0; step < 3; ++step) {
      optimizer.zero_grad();
      job.fabric.backward(model->forward(torch::randn({4, 64})).square().mean());
      optimizer.step();
    }
    CHECK(sharded.size() == 6);
    CHECK(sharded.events().bytes_peak <= 2 * largest);
    CHECK(sharded.events().bytes_live == 0);
  }

  TEST_CASE("an allocator counts one shard, two units of parameters, three of gradients") {
    constexpr double kUnit = 4.0 * 256 * 256;  // bytes
    constexpr double kRest = 64 << 10;         // activations, messages
    Job job;
    const support::CountedMemory all;
    torch::nn::Sequential net;
    for (int i = 0; i < 8; ++i) {
      net->push_back(torch::nn::Linear(torch::nn::LinearOptions(256, 256).bias(false)));
    }
    auto model = job.fabric.setup(net);
    const double shard = 8 * kUnit / fabric::world().size;
    CHECK(live_at_rest(all, shard + kRest) <= shard + kRest);
    auto optimizer = job.fabric.setup_optimizers(torch::optim::SGD(model->parameters(), 0.1));
    const Tensor x = torch::randn({1, 256});
    {
      const torch::NoGradGuard no_grad;
      const support::CountedMemory memory;
      model->forward(x);
      model->forward(x);
      CHECK(static_cast<double>(memory.peak()) <= 2 * kUnit + kRest);
    }
    for (int step = 0; step < 3; ++step) {
      const support::CountedMemory memory;
      optimizer.zero_grad();
      job.fabric.backward(model->forward(x).square().mean());
      optimizer.step();
      // The gradients' shard is made by the first step; autograd makes one gradient at a time.
      const double made = step == 0 ? shard : 0;
      CHECK(static_cast<double>(memory.peak()) <= made + (2 + 3 + 1) * kUnit + kRest);
      CHECK(live_at_rest(memory, made + kRest) <= made + kRest);
    }
  }

  TEST_CASE("an exception in forward or in backward leaves a usable model") {
    const Tensor x = rows({6});
    Twin<MLP> twin(0.1);
    auto fails =
        twin.model->register_forward_method("fails", [](auto& module, Tensor input) -> Tensor {
          module.first(input);
          throw std::runtime_error("in forward");
        });
    for (int i = 0; i < 3; ++i) {
      CHECK_THROWS_WITH(fails(own(x)), "in forward");
      const Tensor hidden = torch::tanh(twin.net->second(torch::tanh(twin.net->first(own(x)))));
      hidden.register_hook(
          [](const Tensor&) -> Tensor { throw std::runtime_error("in backward"); });
      CHECK_THROWS_WITH(twin.fabric.backward(twin.net->third(hidden).sum()),
                        doctest::Contains("in backward"));
      twin.step(x);
    }
    CHECK(twin.error() < kExact);
  }

  TEST_CASE("work that is dropped half-way leaves a usable model") {
    const Tensor x = rows({6});
    Twin<MLP, torch::optim::Adam> twin(0.01);
    for (int i = 0; i < 3; ++i) {
      twin.model->forward(own(x));                            // no backward
      const Tensor half = twin.net->first(own(x));            // no further layer
      twin.fabric.backward(twin.net->second(half).sum());     // no step
      const Tensor kept = twin.model->forward(own(x)).sum();  // its graph outlives the step
      twin.step(x);
    }
    CHECK(twin.error() < kExact);
  }

  TEST_CASE("the first gather inside InferenceMode, then training") {
    const Tensor x = rows({6});
    Twin<MLP> twin(0.1);
    {
      const c10::InferenceMode inference;
      CHECK(distance({twin.model->forward(own(x))}, {twin.reference->forward(own(x))}) < kExact);
    }
    for (int i = 0; i < 2; ++i) {
      twin.step(x);
    }
    CHECK(twin.error() < kExact);
  }

  TEST_CASE("full_parameters: whole parameters to save, to read and to write by any means") {
    Job job;
    MLP net = double_net<MLP>(), saved(6, 16, 3), reference = double_net<MLP>();
    auto model = job.fabric.setup(net);
    auto optimizer = job.fabric.setup_optimizers(torch::optim::SGD(model->parameters(), 0.1));
    {
      const auto guard = job.fabric.full_parameters(model);
      std::stringstream stream;
      torch::save(net, stream);
      saved->to(torch::kDouble);
      torch::load(saved, stream);
      const auto nested = job.fabric.full_parameters(model);
      net->second->weight.data_ptr<double>()[3] = 0.5;  // unseen by any operator
      CHECK_THROWS_WITH_AS(optimizer.step(), doctest::Contains("full_parameters"),
                           fabric::RoutingError);
    }
    CHECK(distance(saved->parameters(), reference->parameters()) == 0);
    const torch::NoGradGuard no_grad;
    reference->second->weight[0][3] = 0.5;
    CHECK(distance(net->parameters(), reference->parameters()) == 0);
  }

  TEST_CASE("bf16-mixed gives the losses and gradients of ddp") {
    const Tensor x = rows({6}).to(torch::kFloat);
    std::vector<std::vector<Tensor>> gradients;
    for (const fabric::StrategyChoice& strategy :
         {fabric::StrategyChoice("ddp"),
          fabric::StrategyChoice(fabric::FSDPOptions{.units = {"Linear"}})}) {
      fabric::Fabric fabric({.strategy = strategy, .precision = "bf16-mixed"});
      fabric.launch();
      MLP net = with_seed(1, [] { return MLP(); });
      auto model = fabric.setup(net);
      fabric.backward(model->forward(own(x)).square().mean());
      auto& list = gradients.emplace_back();
      for (const Tensor& parameter : net->parameters()) {
        list.push_back(parameter.grad().clone());
      }
    }
    CHECK(distance(gradients[0], gradients[1]) < 1e-6);
  }
}
