// GPT-2 in training on synthetic tokens: Fabric's loop as it is, and captured where there are
// graphs.
//
//   bench_gpt2 device              prints where it runs
//   bench_gpt2 matmul              prints matmul_tflops: the device's rate in bf16 products
//   bench_gpt2 train [NAME=VALUE]  size=124M|350M|tiny, batch, context, steps (of a round), rounds:
//                                  prints parameters, flops_per_token, first_loss, last_loss and
//                                  eager_tokens_per_second, captured_tokens_per_second
//
// peers/gpt2.py is the same model and loop in PyTorch, with the same options and lines.
#include <algorithm>
#include <chrono>
#include <functional>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include <accelerators/registry.h>
#include <examples/gpt/model.h>
#include <fabric/fabric.h>

namespace {

using torch::Tensor;

constexpr int kWarmUps = 5;  // captured steps are recorded in the fourth
constexpr std::int64_t kBatches = 4;

// Vocabulary, width, heads, layers; the vocabulary of GPT-2 is rounded up to whole tiles of 64, as
// is usual.
const std::map<std::string, GPTOptions> kSizes = {
    {"124M", {.letters = 50304, .width = 768, .heads = 12, .layers = 12}},
    {"350M", {.letters = 50304, .width = 1024, .heads = 16, .layers = 24}},
    {"tiny", {.letters = 256, .width = 32, .heads = 2, .layers = 2}}};

struct Options {
  std::string size = "124M";
  std::int64_t batch = 16, context = 1024, steps = 10, rounds = 5;
};

Options parse(const std::vector<std::string>& arguments) {
  Options options;
  const std::map<std::string, std::int64_t*> numbers = {{"batch", &options.batch},
                                                        {"context", &options.context},
                                                        {"steps", &options.steps},
                                                        {"rounds", &options.rounds}};
  for (const std::string& argument : arguments) {
    const std::size_t equals = std::min(argument.find('='), argument.size());
    const std::string name = argument.substr(0, equals);
    const std::string value = argument.substr(std::min(equals + 1, argument.size()));
    if (name == "size" && kSizes.contains(value)) {
      options.size = value;
    } else if (numbers.contains(name)) {
      *numbers.at(name) = std::stoll(value);
    } else {
      throw std::invalid_argument("bench_gpt2: got '" + argument +
                                  "'; expected size=124M|350M|tiny, batch=, context=, steps= or "
                                  "rounds=");
    }
  }
  return options;
}

/// The model with its loss, so that logits stay inside the routed call.
struct LanguageModelImpl : torch::nn::Module {
  explicit LanguageModelImpl(const GPTOptions& options)
      : gpt(register_module("gpt", GPT(options))) {}
  Tensor forward(const Tensor& tokens, const Tensor& next) {
    return torch::nn::functional::cross_entropy(gpt->forward(tokens).flatten(0, 1), next.flatten());
  }
  GPT gpt;
};
TORCH_MODULE(LanguageModel);

/// As many operations as nanoGPT counts (A. Karpathy; after A. Chowdhery et al., 2022, appendix B):
/// six for each parameter that multiplies, and those of attention, which is taken as not causal.
double flops_per_token(const LanguageModelImpl& net) {
  const GPTOptions& o = net.gpt->o;
  std::int64_t parameters = 0;
  for (const Tensor& parameter : net.parameters()) {
    parameters += parameter.numel();
  }
  const std::int64_t looked_up = o.context * o.width;
  return static_cast<double>(6 * (parameters - looked_up) + 12 * o.layers * o.width * o.context);
}

double seconds_of(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

/// A net in training on the same few batches again and again.
class Training {
 public:
  Training(fabric::Fabric& fabric, const Options& options) : fabric_(fabric), options_(options) {
    fabric::seed_everything(0);
    GPTOptions shape = kSizes.at(options.size);
    shape.context = options.context;
    model_ = fabric.setup(LanguageModel(shape));
    optimizer_ = fabric.setup_optimizers(fabric::FusedAdamW(
        model_->parameters(), {.lr = 3e-4, .lr_tensor = torch::full({}, 3e-4, fabric.device())}));
    const auto tokens = torch::randint(shape.letters, {kBatches, options.batch, shape.context + 1})
                            .to(fabric.device());
    for (std::int64_t i = 0; i < kBatches; ++i) {
      inputs_.push_back(tokens[i].narrow(1, 0, shape.context).contiguous());
      targets_.push_back(tokens[i].narrow(1, 1, shape.context).contiguous());
    }
  }

  Tensor step(const Tensor& tokens, const Tensor& next) {
    optimizer_.zero_grad();
    Tensor loss = model_->forward(tokens, next);
    fabric_.backward(loss);
    optimizer_.step();
    return loss;
  }

  /// The median over rounds. Reading the loss at the end of each waits for the device.
  template <class Step>
  double tokens_per_second(Step step) {
    const auto run = [&](std::int64_t steps) {
      Tensor loss;
      for (std::int64_t i = 0; i < steps; ++i, ++next_) {
        loss = step(inputs_[next_ % kBatches], targets_[next_ % kBatches]);
      }
      last_loss = loss.item<double>();
    };
    run(1);
    first_loss = last_loss;
    run(kWarmUps);
    std::vector<double> rates;
    for (std::int64_t round = 0; round < options_.rounds; ++round) {
      const double seconds = seconds_of([&] { run(options_.steps); });
      rates.push_back(static_cast<double>(options_.steps * options_.batch * options_.context) /
                      seconds);
    }
    return median(rates);
  }

  const LanguageModelImpl& net() const { return model_.module(); }
  double first_loss = 0, last_loss = 0;

 private:
  fabric::Fabric& fabric_;
  Options options_;
  fabric::FabricModule<LanguageModelImpl> model_;
  fabric::FabricOptimizer optimizer_;
  std::vector<Tensor> inputs_, targets_;
  std::int64_t next_ = 0;
};

/// Of large products, many in a row: what a device can do, and no host can slow down.
double matmul_tflops(c10::Device device) {
  const std::int64_t size = device.is_cpu() ? 512 : 8192;
  const int products = device.is_cpu() ? 2 : 30;
  const auto options = torch::TensorOptions().dtype(torch::kBFloat16).device(device);
  const Tensor left = torch::randn({size, size}, options),
               right = torch::randn({size, size}, options);
  const auto run = [&] {
    Tensor product;
    for (int i = 0; i < products; ++i) {
      product = torch::mm(left, right);
    }
    product[0][0].item<float>();
  };
  run();
  double best = 0;
  for (int round = 0; round < 5; ++round) {
    const double flops = 2.0 * static_cast<double>(size * size * size) * products;
    best = std::max(best, flops / seconds_of(run));
  }
  return best / 1e12;
}

void train(fabric::Fabric& fabric, const Options& options) {
  {
    Training eager(fabric, options);
    std::int64_t parameters = 0;
    for (const Tensor& parameter : eager.net().parameters()) {
      parameters += parameter.numel();
    }
    std::cout << "parameters " << parameters << "\nflops_per_token "
              << static_cast<std::int64_t>(flops_per_token(eager.net())) << std::endl;
    const double rate = eager.tokens_per_second([&](const Tensor& tokens, const Tensor& next) {
      return eager.step(tokens, next).detach();
    });
    std::cout << "first_loss " << eager.first_loss << "\nlast_loss " << eager.last_loss
              << "\neager_tokens_per_second " << rate << std::endl;
  }
  Training captured(fabric, options);
  const auto step =
      fabric.capture([&](Tensor tokens, Tensor next) { return captured.step(tokens, next); });
  const double rate = captured.tokens_per_second(step);
  std::cout << "captured_last_loss " << captured.last_loss << "\ncaptured "
            << (step.replays() ? "graph" : "no_graph") << "\ncaptured_tokens_per_second " << rate
            << std::endl;
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string mode = argc > 1 ? argv[1] : "train";
  const Options options = parse({argv + std::min(argc, 2), argv + argc});
  fabric::Fabric fabric({.devices = 1, .precision = "bf16-mixed", .matmul_precision = "high"});
  fabric.launch(argc, argv);
  if (mode == "device") {
    std::cout << fabric.device() << " "
              << fabric::get_accelerator(fabric.accelerator()).device_name(fabric.device())
              << std::endl;
  } else if (mode == "matmul") {
    std::cout << "matmul_tflops " << matmul_tflops(fabric.device()) << std::endl;
  } else {
    train(fabric, options);
  }
} catch (const std::invalid_argument& error) {
  std::cerr << error.what() << std::endl;
  return 2;
}
