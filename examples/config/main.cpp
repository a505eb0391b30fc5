// One struct is the keyword arguments, the YAML file, the command line, the help and the saved
// hyper-parameters of a training. README.md shows its screens.
//
//     ./config --folder=run --model.width=32 --optimizer.lr 0.01
//     ./config --config=examples/config/small.yaml --epochs=2
//     ./config --help
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include <torch/torch.h>

#include <fabric/config.h>
#include <fabric/config/hyper_parameters.h>
#include <fabric/fabric.h>

using torch::Tensor;
namespace nn = torch::nn;

// LibTorch's own options: no mirror that drifts.
FABRIC_EXTERNAL_OPTIONS(torch::optim::AdamWOptions, lr, betas, eps, weight_decay, amsgrad)

enum class Activation { tanh, relu };

struct ModelOptions {
  std::vector<int64_t> layers{32, 32};
  FABRIC_HELP(layers, "units of the hidden layers, in order")
  Activation activation = Activation::tanh;
  double dropout = 0;
  FABRIC_HELP(dropout, "share of units that are left out")

  std::string invalid() const {
    return dropout >= 0 && dropout < 1 ? "" : "dropout is at least 0 and below 1";
  }
};

struct Config {
  fabric::Required<std::filesystem::path> folder{};
  FABRIC_HELP(folder, "where the run is saved")
  int epochs = 5;
  FABRIC_HELP(epochs, "passes over the data")
  uint64_t seed = 1;
  std::optional<std::chrono::duration<double>> limit{};
  FABRIC_HELP(limit, "no epoch begins after this time")
  std::filesystem::path resume{};
  FABRIC_HELP(resume, "a checkpoint to go on from; its options count below the command line")
  ModelOptions model{};
  torch::optim::AdamWOptions optimizer{1e-2};
  fabric::FabricOptions fabric{};
};

struct NetImpl : nn::Module {
  explicit NetImpl(const ModelOptions& options) {
    int64_t width = 2;
    for (const int64_t units : options.layers) {
      body->push_back(nn::Linear(width, units));
      if (options.activation == Activation::tanh) {
        body->push_back(nn::Tanh());
      } else {
        body->push_back(nn::ReLU());
      }
      body->push_back(nn::Dropout(options.dropout));
      width = units;
    }
    body->push_back(nn::Linear(width, 1));
    register_module("body", body);
  }
  Tensor forward(const Tensor& x) { return body->forward(x); }
  nn::Sequential body;
};
TORCH_MODULE(Net);

/// A function of two numbers that is not linear.
struct Points : torch::data::datasets::Dataset<Points, torch::data::Example<>> {
  torch::data::Example<> get(size_t index) override {
    auto generator = fabric::sample_generator(index);
    const Tensor x = torch::randn({2}, generator);
    return {x, (x[0] * x[1]).view({1})};
  }
  std::optional<size_t> size() const override { return 512; }
};

int main(int argc, char** argv) {
  const auto config =
      fabric::config::parse<Config>(argc, argv,
                                    {.about = "learns the product of two numbers",
                                     .environment = "PRODUCT_",
                                     .default_files = {"product.yaml"},
                                     .checkpoint = "resume",
                                     .hyper_parameters = fabric::config::read_hyper_parameters});
  fabric::Fabric fabric(config->fabric);
  fabric.launch(argc, argv);
  fabric.seed_everything(config->seed);
  config.save(*config->folder);

  auto model = fabric.setup(Net(config->model));
  auto optimizer =
      fabric.setup_optimizers(torch::optim::AdamW(model->parameters(), config->optimizer));
  auto loader = fabric.make_data_loader<torch::data::samplers::RandomSampler>(
      Points().map(torch::data::transforms::Stack<>()), /*batch_size=*/32);
  int epoch = 0;
  fabric::State state{{"model", model},
                      {"optimizer", optimizer},
                      {"epoch", epoch},
                      {"hyper_parameters", fabric::config::hyper_parameters(config.resolved())}};
  if (!config->resume.empty()) {
    fabric.load(config->resume, state);
  }
  const auto begin = std::chrono::steady_clock::now();
  for (; epoch < config->epochs; ++epoch) {
    if (config->limit && std::chrono::steady_clock::now() - begin > *config->limit) {
      break;
    }
    double loss_sum = 0;
    int batches = 0;
    for (auto& batch : *loader) {
      optimizer.zero_grad();
      Tensor loss = nn::functional::mse_loss(model->forward(batch.data), batch.target);
      fabric.backward(loss);
      optimizer.step();
      loss_sum += loss.item<double>();
      ++batches;
    }
    fabric.printf("epoch %2d   loss %.3f\n", epoch + 1, fabric.mean(loss_sum / batches));
  }
  fabric.save(*config->folder / "last.pt", state);
}
