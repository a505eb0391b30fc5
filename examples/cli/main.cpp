// A program with commands, whose model, data, optimizer and schedule are chosen by name. README.md
// shows its screens.
//
//     ./cli fit --data=Stripes --model=Conv --epochs=2
//     ./cli --seed=7 fit --config=examples/cli/conv.yaml --save=runs/conv
//     ./cli test --run=runs/conv --data=Stripes --model=Conv
//     ./cli fit --help
#include <filesystem>
#include <string>

#include <torch/torch.h>

#include <fabric/cli.h>
#include <fabric/config.h>
#include <fabric/fabric.h>
#include <fabric/optim/classes.h>
#include <fabric/optim/schedules.h>

using torch::Tensor;
namespace nn = torch::nn;

// -- two data modules, with different options ---------------------------------------------------

/// A batch of samples, made from their indices: the same on every machine.
struct Examples : torch::data::datasets::Dataset<Examples, torch::data::Example<>> {
  Examples(size_t size, std::function<torch::data::Example<>(size_t)> make)
      : count(size), make(std::move(make)) {}
  torch::data::Example<> get(size_t index) override { return make(index); }
  std::optional<size_t> size() const override { return count; }
  size_t count;
  std::function<torch::data::Example<>(size_t)> make;
};

/// Points around centers on a circle; the class is the center.
struct Blobs {
  struct Options {
    int64_t samples = 512;
    int64_t centers = 4;
    double spread = 0.2;
    FABRIC_HELP(spread, "of the points around their center; the circle has radius 1")
  };
  explicit Blobs(const Options& options) : options(options) {}
  int64_t classes() const { return options.centers; }
  Examples examples() const {
    return {
        static_cast<size_t>(options.samples), [options = options](size_t index) {
          auto generator = fabric::sample_generator(index);
          const auto label = static_cast<int64_t>(index) % options.centers;
          const double angle =
              2 * M_PI * static_cast<double>(label) / static_cast<double>(options.centers);
          const Tensor center = torch::tensor({std::cos(angle), std::sin(angle)}).to(torch::kFloat);
          return torch::data::Example<>(center + options.spread * torch::randn({2}, generator),
                                        torch::tensor(label));
        }};
  }
  Options options;
};

/// Noisy images with stripes that lie, stand or are oblique.
struct Stripes {
  struct Options {
    int64_t samples = 512;
    int64_t side = 8;
    FABRIC_HELP(side, "pixels of an image, in both directions")
    double noise = 0.3;
  };
  explicit Stripes(const Options& options) : options(options) {}
  int64_t classes() const { return 3; }
  Examples examples() const {
    return {static_cast<size_t>(options.samples), [options = options](size_t index) {
              auto generator = fabric::sample_generator(index);
              const auto label = static_cast<int64_t>(index) % 3;
              const Tensor row = torch::arange(options.side).view({-1, 1});
              const Tensor column = row.view({1, -1});
              const Tensor phase = label == 0   ? row + 0 * column
                                   : label == 1 ? column + 0 * row
                                                : row + column;
              const Tensor image = (phase.remainder(4) < 2).to(torch::kFloat);
              return torch::data::Example<>(
                  (image + options.noise * torch::randn({options.side, options.side}, generator))
                      .unsqueeze(0),
                  torch::tensor(label));
            }};
  }
  Options options;
};

using Data = fabric::OneOf<Blobs, Stripes>;

// -- two models, with different options ---------------------------------------------------------

struct MlpImpl : nn::Module {
  struct Options {
    int64_t features = 2;  // linked: 2 for points, side · side for images
    int64_t width = 32;
    FABRIC_HELP(width, "units of the hidden layer")
    fabric::Provided<int64_t> classes{};
  };
  explicit MlpImpl(const Options& options) {
    body = register_module(
        "body", nn::Sequential(nn::Flatten(), nn::Linear(options.features, options.width),
                               nn::ReLU(), nn::Linear(options.width, *options.classes)));
  }
  Tensor forward(const Tensor& x) { return body->forward(x); }
  nn::Sequential body{nullptr};
};
TORCH_MODULE(Mlp);

struct ConvImpl : nn::Module {
  struct Options {
    fabric::Required<int64_t> side{};  // linked: of images; points have none
    int64_t channels = 8;
    fabric::Provided<int64_t> classes{};
  };
  explicit ConvImpl(const Options& options) {
    const int64_t half = *options.side / 2;
    body = register_module(
        "body", nn::Sequential(nn::Conv2d(nn::Conv2dOptions(1, options.channels, 3).padding(1)),
                               nn::ReLU(), nn::MaxPool2d(2), nn::Flatten(),
                               nn::Linear(options.channels * half * half, *options.classes)));
  }
  Tensor forward(const Tensor& x) { return body->forward(x); }
  nn::Sequential body{nullptr};
};
TORCH_MODULE(Conv);

using Model = fabric::OneOf<Mlp, Conv>;

// -- what the commands may be told --------------------------------------------------------------

struct FitConfig {
  Data data = "Blobs";
  Model model = MlpImpl::Options{.width = 16};
  fabric::Class<torch::optim::Optimizer> optimizer = fabric::AdamWConfig{.lr = 1e-2};
  fabric::Class<fabric::Curve> schedule = "ConstantLR";
  int epochs = 3;
  FABRIC_HELP(epochs, "passes over the data")
  int64_t batch_size = 32;
  std::filesystem::path save{};
  FABRIC_HELP(save, "the folder of the run; left out: nothing is saved")
  fabric::config::Resolved resolved{};
};

struct TestConfig {
  fabric::Required<std::filesystem::path> run{};
  FABRIC_HELP(run, "the folder that fit saved")
  Data data = "Blobs";
  Model model = MlpImpl::Options{.width = 16};
};

/// The chosen model for the chosen data.
template <class Run>
void with_model(const Data& data, Model model, const Run& run) {
  data.make([&](const auto& chosen) {
    model.set("classes", chosen.classes());
    model.make([&](auto net) { run(net, chosen.examples()); });
  });
}

void fit(fabric::Fabric& fabric, const FitConfig& config) {
  with_model(config.data, config.model, [&](auto net, Examples examples) {
    auto model = fabric.setup(net);
    auto optimizer = fabric.setup_optimizers(config.optimizer.make(model->parameters()));
    fabric::Schedule schedule(optimizer, config.schedule.make());
    auto loader = fabric.make_data_loader<torch::data::samplers::RandomSampler>(
        std::move(examples).map(torch::data::transforms::Stack<>()),
        static_cast<size_t>(config.batch_size));
    for (int epoch = 0; epoch < config.epochs; ++epoch) {
      double loss_sum = 0;
      int batches = 0;
      for (auto& batch : *loader) {
        optimizer.zero_grad();
        Tensor loss = nn::functional::cross_entropy(model->forward(batch.data), batch.target);
        fabric.backward(loss);
        optimizer.step();
        schedule.step();
        loss_sum += loss.template item<double>();
        ++batches;
      }
      fabric.printf("epoch %2d   loss %.3f\n", epoch + 1, fabric.mean(loss_sum / batches));
    }
    if (!config.save.empty()) {
      fabric::config::save(config.resolved, config.save);
      fabric::State state{{"model", model}};
      fabric.save(config.save / "model.pt", state);
    }
  });
}

void test(fabric::Fabric& fabric, const TestConfig& config) {
  with_model(config.data, config.model, [&](auto net, Examples examples) {
    auto model = fabric.setup(net);
    fabric::State state{{"model", model}};
    fabric.load(*config.run / "model.pt", state);
    torch::NoGradGuard no_grad;
    auto loader = fabric.make_data_loader(
        std::move(examples).map(torch::data::transforms::Stack<>()), size_t{64});
    double right = 0;
    double all = 0;
    for (auto& batch : *loader) {
      const Tensor guess = model->forward(batch.data).argmax(1);
      right += (guess == batch.target).sum().template item<double>();
      all += static_cast<double>(batch.target.size(0));
    }
    fabric.printf("accuracy %.3f\n", fabric.sum(right) / fabric.sum(all));
  });
}

/// How many numbers a model sees of a sample.
int64_t features(const Data& data) {
  const auto* stripes = data.get_if<Stripes::Options>();
  return stripes != nullptr ? stripes->side * stripes->side : 2;
}

/// Large models are sharded.
std::string strategy(const Model& model) {
  const auto* mlp = model.get_if<MlpImpl::Options>();
  return mlp != nullptr && mlp->width > 4096 ? "fsdp" : "auto";
}

int main(int argc, char** argv) {
  fabric::register_optimizers();
  fabric::register_schedules();
  fabric::Cli cli("cli", {.about = "learns to tell shapes apart", .environment = "SHAPES_"});
  cli.command("fit", fit, "trains a model")
      .link("data", "model.features", features)  // only the Mlp has features
      .link("data.side", "model.side")           // only Stripes and Conv have sides
      .link("model", "fabric.strategy", strategy);
  cli.command("test", test, "measures a trained model")
      .link("data", "model.features", features)
      .link("data.side", "model.side");
  return cli.run(argc, argv);
}
