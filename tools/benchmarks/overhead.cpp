// What Fabric adds to a raw LibTorch loop on one device.
//
//   bench_overhead wall [PRECISION]  prints raw_us, fabric_us (a step) and wall_ratio
//   bench_overhead raw STEPS         one loop alone, for counting its instructions
//   bench_overhead fabric STEPS
#include <algorithm>
#include <chrono>
#include <iostream>
#include <string>
#include <vector>

#include <ATen/autocast_mode.h>

#include <fabric/fabric.h>
#include <tools/benchmarks/mlp.h>

namespace {

constexpr int kRounds = 61;
constexpr int kStepsOfRound = 200;

struct Data {
  torch::Tensor x = torch::randn({32, 64});
  torch::Tensor y = torch::randint(10, {32});
};

// Autocast as LibTorch's users write it by hand.
class Autocast {
 public:
  Autocast() {
    at::autocast::set_autocast_enabled(at::kCPU, true);
    at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
    at::autocast::increment_nesting();
  }
  ~Autocast() {
    if (at::autocast::decrement_nesting() == 0) {
      at::autocast::clear_cache();
    }
    at::autocast::set_autocast_enabled(at::kCPU, false);
  }
};

class RawLoop {
 public:
  explicit RawLoop(bool mixed) : mixed_(mixed) {}
  void run(const Data& data, int steps) {
    for (int i = 0; i < steps; ++i) {
      optimizer_.zero_grad();
      auto loss = torch::nn::functional::cross_entropy(forward(data.x), data.y);
      loss.backward();
      optimizer_.step();
    }
  }

 private:
  torch::Tensor forward(const torch::Tensor& x) {
    if (!mixed_) {
      return model_->forward(x);
    }
    const Autocast on;
    return model_->forward(x).to(torch::kFloat);
  }

  bool mixed_;
  Mlp model_;
  torch::optim::SGD optimizer_{model_->parameters(), 0.1};
};

class FabricLoop {
 public:
  explicit FabricLoop(fabric::Fabric& fabric)
      : fabric_(fabric),
        model_(fabric.setup(Mlp())),
        optimizer_(fabric.setup_optimizers(torch::optim::SGD(model_->parameters(), 0.1))) {}
  void run(const Data& data, int steps) {
    for (int i = 0; i < steps; ++i) {
      optimizer_.zero_grad();
      auto loss = torch::nn::functional::cross_entropy(model_->forward(data.x), data.y);
      fabric_.backward(loss);
      optimizer_.step();
    }
  }

 private:
  fabric::Fabric& fabric_;
  fabric::FabricModule<MlpImpl> model_;
  fabric::FabricOptimizer optimizer_;
};

template <class Loop>
double microseconds(Loop& loop, const Data& data) {
  const auto begin = std::chrono::steady_clock::now();
  loop.run(data, kStepsOfRound);
  const std::chrono::duration<double, std::micro> taken = std::chrono::steady_clock::now() - begin;
  return taken.count() / kStepsOfRound;
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

// The loops take turns, in changing order, and are compared within a round: what else the machine
// does meets both.
void compare(RawLoop& raw, FabricLoop& fabric, const Data& data) {
  std::vector<double> raw_times;
  std::vector<double> fabric_times;
  std::vector<double> ratios;
  raw.run(data, kStepsOfRound);
  fabric.run(data, kStepsOfRound);
  for (int round = 0; round < kRounds; ++round) {
    const bool raw_first = round % 2 == 0;
    const double before = raw_first ? microseconds(raw, data) : 0.0;
    fabric_times.push_back(microseconds(fabric, data));
    raw_times.push_back(raw_first ? before : microseconds(raw, data));
    ratios.push_back(fabric_times.back() / raw_times.back());
  }
  std::cout << "raw_us " << median(raw_times) << "\nfabric_us " << median(fabric_times)
            << "\nwall_ratio " << median(ratios) << "\n";
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "wall";
  const std::string precision = mode == "wall" && argc > 2 ? argv[2] : "32-true";
  const int steps = mode != "wall" && argc > 2 ? std::stoi(argv[2]) : 0;
  torch::set_num_threads(1);
  fabric::seed_everything(0);
  const Data data;
  fabric::Fabric fabric({.accelerator = "cpu", .devices = 1, .precision = precision});
  fabric.launch(argc, argv);
  if (mode == "raw") {
    RawLoop(/*mixed=*/false).run(data, steps);
  } else if (mode == "fabric") {
    FabricLoop(fabric).run(data, steps);
  } else {
    RawLoop raw(precision == "bf16-mixed");
    FabricLoop with_fabric(fabric);
    compare(raw, with_fabric, data);
  }
}
