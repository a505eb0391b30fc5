// AdamW's step on many small, some middle-sized and few large parameters, one thread.
//
//   bench_optimizer step     prints NAME_vs_libtorch: torch::optim::AdamW over FusedAdamW
//   bench_optimizer cycle    the same for backward + step + zero_grad
//   bench_optimizer times    prints NAME MICROSECONDS of FusedAdamW's step, for other peers
#include <algorithm>
#include <chrono>
#include <iostream>
#include <string>
#include <vector>

#include <torch/torch.h>

#include <fabric/optim/fused_adam.h>

namespace {

struct Shape {
  const char* name;
  int parameters;
  std::int64_t size;
  int steps;  // of a round
};

const std::vector<Shape> kShapes = {
    {"many_small", 1000, 256, 20}, {"mid", 500, 4096, 10}, {"few_large", 8, 1000000, 5}};
constexpr int kRounds = 21;

template <class Optimizer, class Options>
class Loop {
 public:
  Loop(const Shape& shape, const Options& options)
      : steps_(std::is_same_v<Options, fabric::FusedAdamWOptions> ? 5 * shape.steps : shape.steps),
        parameters_(make(shape)),
        optimizer_(parameters_, options) {
    for (int i = 0; i < shape.parameters; ++i) {
      inputs_.push_back(torch::randn({shape.size}));
      parameters_[i].mutable_grad() = torch::randn({shape.size});
    }
  }

  // Microseconds of a step.
  double step() {
    return each([&] { optimizer_.step(); });
  }

  double cycle() {
    return each([&] {
      torch::Tensor loss = torch::zeros({});
      for (std::size_t i = 0; i < parameters_.size(); ++i) {
        loss = loss + torch::dot(parameters_[i], inputs_[i]);
      }
      const auto begin = std::chrono::steady_clock::now();
      loss.backward();
      optimizer_.step();
      optimizer_.zero_grad();
      loss.reset();
      counted_ += std::chrono::steady_clock::now() - begin;
    });
  }

 private:
  static std::vector<torch::Tensor> make(const Shape& shape) {
    std::vector<torch::Tensor> parameters;
    for (int i = 0; i < shape.parameters; ++i) {
      parameters.push_back(torch::randn({shape.size}, torch::requires_grad()));
    }
    return parameters;
  }

  // Of one of several calls; of the part they count themselves, where they do. The first fills the
  // caches after the other loop's turn.
  template <class Work>
  double each(Work work) {
    work();
    counted_ = {};
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < steps_; ++i) {
      work();
    }
    const std::chrono::duration<double, std::micro> taken =
        counted_.count() > 0 ? counted_ : std::chrono::steady_clock::now() - begin;
    return taken.count() / steps_;
  }

  int steps_;
  std::vector<torch::Tensor> parameters_, inputs_;
  Optimizer optimizer_;
  std::chrono::duration<double> counted_{};
};

using Ours = Loop<fabric::FusedAdamW, fabric::FusedAdamWOptions>;
using Theirs = Loop<torch::optim::AdamW, torch::optim::AdamWOptions>;

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

// The loops take turns of about equal length, in changing order, and are compared within a round.
template <class Measure>
double ratio(const Shape& shape, Measure measure) {
  Ours ours(shape, {.lr = 1e-3});
  Theirs theirs(shape, torch::optim::AdamWOptions(1e-3));
  measure(ours);
  measure(theirs);
  std::vector<double> ratios;
  for (int round = 0; round < kRounds; ++round) {
    const double first = round % 2 == 0 ? measure(ours) : measure(theirs);
    const double second = round % 2 == 0 ? measure(theirs) : measure(ours);
    ratios.push_back(round % 2 == 0 ? second / first : first / second);
  }
  return median(ratios);
}

double microseconds(const Shape& shape) {
  Ours ours(shape, {.lr = 1e-3});
  ours.step();
  std::vector<double> times;
  for (int round = 0; round < kRounds; ++round) {
    times.push_back(ours.step());
  }
  return median(times);
}

}  // namespace

int main(int argc, char** argv) {
  torch::set_num_threads(1);
  const std::string mode = argc > 1 ? argv[1] : "step";
  for (const Shape& shape : kShapes) {
    if (mode == "times") {
      std::cout << shape.name << " " << microseconds(shape) << std::endl;
    } else if (mode == "cycle") {
      std::cout << shape.name << "_cycle " << ratio(shape, [](auto& loop) { return loop.cycle(); })
                << std::endl;
    } else {
      std::cout << shape.name << "_vs_libtorch "
                << ratio(shape, [](auto& loop) { return loop.step(); }) << std::endl;
    }
  }
}
