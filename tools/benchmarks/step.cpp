// Time of one training step of a stack of square Linear layers, or of a small GPT; the twin of
// peers/ddp.py and peers/fsdp.py.
//
//   mpirun -np 2 bench_step ddp|fsdp linear|gpt LAYERS WIDTH BATCH WARMUP STEPS
//   bench_step single linear|gpt LAYERS WIDTH BATCH WARMUP STEPS [UNIX_SECONDS: when to begin]
//
// Under fsdp each layer (block) is a unit. Rank 0 prints `step_ms MEDIAN`, and under fsdp
// `peak_over_formula` (unsharded parameter bytes over those of the two largest units).
#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include <fabric/fabric.h>
#include <strategies/fsdp.h>
#include <torch/torch.h>

namespace {

constexpr std::int64_t kContext = 128;
constexpr std::int64_t kVocabulary = 256;

struct BlockImpl : torch::nn::Module {
  explicit BlockImpl(std::int64_t width)
      : heads(width / 64),
        first(register_module("first", torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})))),
        qkv(register_module("qkv", torch::nn::Linear(width, 3 * width))),
        out(register_module("out", torch::nn::Linear(width, width))),
        second(
            register_module("second", torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})))),
        up(register_module("up", torch::nn::Linear(width, 4 * width))),
        down(register_module("down", torch::nn::Linear(4 * width, width))) {}

  torch::Tensor forward(torch::Tensor x) {
    const auto parts = qkv(first(x)).chunk(3, -1);
    const auto split = [&](const torch::Tensor& t) {
      return t.view({t.size(0), t.size(1), heads, 64}).transpose(1, 2);
    };
    const auto mixed = torch::scaled_dot_product_attention(split(parts[0]), split(parts[1]),
                                                           split(parts[2]), {}, 0.0, true);
    x = x + out(mixed.transpose(1, 2).flatten(2));
    return x + down(torch::gelu(up(second(x))));
  }

  std::int64_t heads;
  torch::nn::LayerNorm first;
  torch::nn::Linear qkv, out;
  torch::nn::LayerNorm second;
  torch::nn::Linear up, down;
};
TORCH_MODULE(Block);

struct NetImpl : torch::nn::Module {
  NetImpl(bool gpt, std::int64_t layers, std::int64_t width) {
    if (gpt) {
      net->push_back(torch::nn::Embedding(kVocabulary, width));
    }
    for (std::int64_t i = 0; i < layers; ++i) {
      if (gpt) {
        net->push_back(Block(width));
      } else {
        net->push_back(torch::nn::Linear(width, width));
      }
    }
    if (gpt) {
      net->push_back(torch::nn::Linear(width, kVocabulary));
    }
    register_module("net", net);
  }
  torch::Tensor forward(const torch::Tensor& x) { return net->forward(x); }
  torch::nn::Sequential net;
};
TORCH_MODULE(Net);

fabric::StrategyChoice strategy_of(const std::string& name) {
  if (name == "ddp") {
    return "ddp";
  }
  if (name == "fsdp") {
    return fabric::FSDPOptions{.units = {"Linear", "Block", "Embedding"}};
  }
  return "single_device";
}

fabric::StrategyChoice gpt_strategy_of(const std::string& name) {
  if (name == "fsdp") {
    return fabric::FSDPOptions{.units = {"Block", "net.0"}};
  }
  return strategy_of(name);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 8) {
    std::fputs(
        "usage: bench_step ddp|fsdp|single linear|gpt LAYERS WIDTH BATCH WARMUP STEPS [BEGIN]\n",
        stderr);
    return 2;
  }
  const bool gpt = std::string(argv[2]) == "gpt";
  const std::int64_t layers = std::stol(argv[3]);
  const std::int64_t width = std::stol(argv[4]);
  const std::int64_t batch = std::stol(argv[5]);
  const int warmup = std::stoi(argv[6]);
  const int steps = std::stoi(argv[7]);

  torch::set_num_threads(1);
  fabric::Fabric fabric(
      {.accelerator = "cpu", .strategy = gpt ? gpt_strategy_of(argv[1]) : strategy_of(argv[1])});
  fabric.launch(argc, argv);
  fabric::seed_everything(0);
  auto model = fabric.setup(Net(gpt, layers, width));
  auto optimizer = fabric.setup_optimizers(torch::optim::SGD(model->parameters(), 0.01));
  const auto x =
      gpt ? torch::randint(kVocabulary, {batch, kContext}) : torch::randn({batch, width});
  const auto y =
      gpt ? torch::randint(kVocabulary, {batch * kContext}) : torch::randn({batch, width});
  const auto loss_of = [gpt](const torch::Tensor& output, const torch::Tensor& target) {
    return gpt ? torch::nn::functional::cross_entropy(output.flatten(0, 1), target)
               : torch::nn::functional::mse_loss(output, target);
  };

  if (argc > 8) {
    std::this_thread::sleep_until(
        std::chrono::system_clock::time_point(std::chrono::seconds(std::stol(argv[8]))));
  }
  fabric.barrier();
  std::vector<double> times;
  for (int step = 0; step < warmup + steps; ++step) {
    const auto begin = std::chrono::steady_clock::now();
    optimizer.zero_grad();
    const auto loss = loss_of(model->forward(x), y);
    fabric.backward(loss);
    optimizer.step();
    const std::chrono::duration<double, std::milli> taken =
        std::chrono::steady_clock::now() - begin;
    if (step >= warmup) {
      times.push_back(taken.count());
    }
  }
  std::sort(times.begin(), times.end());
  const std::size_t half = times.size() / 2;
  fabric.print("step_ms ",
               times.size() % 2 == 1 ? times[half] : (times[half - 1] + times[half]) / 2);
  if (const fabric::ShardedModel* sharded = fabric::sharded_model_of(model.managed())) {
    std::vector<std::int64_t> units;
    for (std::size_t u = 0; u < sharded->size(); ++u) {
      units.push_back(sharded->unit(u).nbytes());
    }
    std::sort(units.rbegin(), units.rend());
    const std::int64_t two = units[0] + (units.size() > 1 ? units[1] : 0);
    std::int64_t shards = 0;
    for (const std::int64_t bytes : units) {
      shards += bytes / fabric.world_size();
    }
    fabric.print("peak_over_formula ", static_cast<double>(shards + sharded->events().bytes_peak) /
                                           static_cast<double>(shards + two));
  }
}
