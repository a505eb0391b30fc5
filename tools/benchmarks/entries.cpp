// What a routed entry costs, and what the guard against unrouted uses costs.
//
//   bench_entries call               prints plain_ns, routed_ns and overhead_ns of an empty method
//   mpirun -np 2 bench_entries guard prints step_us and guard_ratio: DDP on the tiny MLP with
//                                    unrouted = "error" over the same with "allow"
#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include <fabric/fabric.h>
#include <tools/benchmarks/mlp.h>

namespace {

struct EmptyImpl : torch::nn::Module {
  EmptyImpl() : layer(register_module("layer", torch::nn::Linear(1, 1))) {}
  FABRIC_INFERENCE_ENTRY(nothing)
  __attribute__((noinline)) int nothing(int x) {
    asm volatile("" : "+r"(x));
    return x;
  }
  torch::nn::Linear layer;
};
TORCH_MODULE(Empty);

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

// Nanoseconds of one of `times` calls.
template <class Work>
double each(int times, Work&& work) {
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < times; ++i) {
    work();
  }
  const std::chrono::duration<double, std::nano> taken = std::chrono::steady_clock::now() - begin;
  return taken.count() / times;
}

void call(fabric::Fabric& fabric) {
  Empty net;
  auto model = fabric.setup(net);
  std::vector<double> plain, routed;
  for (int round = 0; round < 101; ++round) {
    plain.push_back(each(10000, [&] { net->nothing(1); }));
    routed.push_back(each(10000, [&] { model->nothing(1); }));
  }
  fabric.print("plain_ns ", median(plain), "\nrouted_ns ", median(routed), "\noverhead_ns ",
               median(routed) - median(plain));
}

class Loop {
 public:
  explicit Loop(fabric::UnroutedChoice unrouted)
      : fabric_({.accelerator = "cpu", .strategy = "ddp", .unrouted = unrouted}) {
    fabric_.launch();
    model_ = fabric_.setup(Mlp());
    optimizer_ = fabric_.setup_optimizers(torch::optim::SGD(model_->parameters(), 0.1));
  }
  void step() {
    optimizer_.zero_grad();
    auto loss = torch::nn::functional::cross_entropy(model_->forward(x_), y_);
    fabric_.backward(loss);
    optimizer_.step();
  }

 private:
  torch::Tensor x_ = torch::randn({32, 64}), y_ = torch::randint(10, {32});
  fabric::Fabric fabric_;
  fabric::FabricModule<MlpImpl> model_;
  fabric::FabricOptimizer optimizer_;
};

// Loops take turns, in changing order, and are compared within a round.
void guard(fabric::Fabric& fabric) {
  Loop with("error"), without("allow");
  const auto time = [](Loop& loop) { return each(100, [&] { loop.step(); }); };
  time(with);
  time(without);
  std::vector<double> ratios, times;
  for (int round = 0; round < 201; ++round) {
    const bool with_first = round % 2 == 0;
    const double first = time(with_first ? with : without);
    const double second = time(with_first ? without : with);
    ratios.push_back(with_first ? first / second : second / first);
    times.push_back((with_first ? first : second) / 1000);
  }
  fabric.print("step_us ", median(times), "\nguard_ratio ", median(ratios));
}

}  // namespace

int main(int argc, char** argv) {
  torch::set_num_threads(1);
  const std::string mode = argc > 1 ? argv[1] : "call";
  fabric::Fabric fabric({.accelerator = "cpu"});
  fabric.launch(argc, argv);
  fabric::seed_everything(0);
  if (mode == "guard") {
    guard(fabric);
  } else {
    call(fabric);
  }
}
