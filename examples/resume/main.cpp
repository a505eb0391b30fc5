// A run that can be stopped at any moment and goes on as if it had not been: the second half prints
// the same losses whether the program ran through or was started again, on the same number of
// processes.
//
//     ./resume run/ 200              200 steps, a checkpoint each 25
//     ./resume run/ 200              nothing left to do: it says so
//     ./resume other/ 90 && ./resume other/ 200
//     FABRIC_STRATEGY=fsdp mpirun -np 2 ./resume third/ 200
#include <filesystem>
#include <string>

#include <torch/torch.h>

#include <fabric/fabric.h>

using torch::Tensor;
namespace nn = torch::nn;

struct Options {
  int64_t width = 64;
  double dropout = 0.1;
};

struct NetImpl : nn::Module {
  explicit NetImpl(const Options& options)
      : body(register_module(
            "body", nn::Sequential(nn::Linear(8, options.width), nn::Tanh(),
                                   nn::Dropout(options.dropout), nn::Linear(options.width, 1)))) {}
  Tensor forward(const Tensor& x) { return body->forward(x); }
  nn::Sequential body;
};
TORCH_MODULE(Net);

/// Points with noise that belongs to the point: the same whichever process or worker draws it.
struct Points : torch::data::datasets::Dataset<Points, torch::data::Example<>> {
  torch::data::Example<> get(size_t index) override {
    auto generator = fabric::sample_generator(index);
    const Tensor x = torch::randn({8}, generator);
    return {x, x.sin().sum().view({1}) + 0.1 * torch::randn({1}, generator)};
  }
  std::optional<size_t> size() const override { return 1000; }
};

int main(int argc, char** argv) {
  fabric::Fabric fabric;
  fabric.launch(argc, argv);
  const std::filesystem::path folder = argc > 1 ? argv[1] : "run";
  const int64_t steps = argc > 2 ? std::stoll(argv[2]) : 200;

  fabric.seed_everything(1);
  Options options;
  auto model = fabric.setup(Net(options));
  auto optimizer = fabric.setup_optimizers(fabric::FusedAdamW(model->parameters(), {.lr = 0.01}));
  auto schedule = fabric::warmup_cosine(optimizer, {.warmup_steps = 20, .steps = 200});
  auto loader = fabric.make_data_loader(Points().map(torch::data::transforms::Stack<>()),
                                        {.batch_size = 16, .workers = 2});
  int64_t step = 0;

  fabric::State state{{"model", model},
                      {"optimizer", optimizer},
                      {"schedule", schedule},
                      {"loader", loader},
                      {"step", step},
                      {"options", options},
                      {"random", fabric.random_state()}};
  fabric::Checkpoints checkpoints(fabric, folder, {.last = 2});
  if (const auto latest = checkpoints.latest()) {
    fabric.load(*latest, state);
    fabric.print("goes on after step ", step, " from ", latest->filename().string());
  }

  while (step < steps) {
    for (auto& batch : *loader) {
      optimizer.zero_grad();
      const Tensor loss = torch::mse_loss(model->forward(batch.data), batch.target);
      fabric.backward(loss);
      optimizer.step();
      schedule.step();
      ++step;
      if (step == 1 || step % 25 == 0) {
        fabric.printf("step %4ld   loss %.6f\n", static_cast<long>(step),
                      fabric.mean(loss.item<double>()));
      }
      if (step % 25 == 0) {
        checkpoints.save(step, state);
      }
      if (step == steps) {
        break;
      }
    }
  }

  // The model alone, with what its constructor needs, for whoever uses it.
  fabric.save(folder / "model.pt", {{"model", model}, {"options", options}});
  const auto read = fabric::load(folder / "model.pt")["options"].as<Options>();
  fabric.print("width ", read.width, ", ", fabric::load(folder / "model.pt")["model"].dict().size(),
               " tensors in model.pt");
}
