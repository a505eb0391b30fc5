// Fused optimizers take the same 100 steps as Python's.
#include <torch/torch.h>

#include <fabric/optim/fused_adagrad.h>
#include <fabric/optim/fused_adam.h>
#include <fabric/optim/fused_sgd.h>
#include <fabric/optim/lion.h>
#include <fabric/optim/schedules.h>

#include <tests/baselines/optimizer_baseline.h>

#include <doctest/doctest.h>

namespace {

constexpr int64_t kElements = 8;
constexpr int64_t kTiles = 5;  // more than one vector, and a rest

torch::Tensor first_values() {
  std::vector<double> values;
  for (int64_t i = 0; i < kElements; ++i) {
    values.push_back(static_cast<double>(i * 37 % 101 - 50) / 50);
  }
  return torch::tensor(values, torch::kDouble).repeat({kTiles});
}

torch::Tensor noise(int64_t step) {
  std::vector<double> values;
  for (int64_t i = 0; i < kElements; ++i) {
    values.push_back(static_cast<double>((i * 13 + step * 29) % 23 - 11) / 11);
  }
  return torch::tensor(values, torch::kDouble).repeat({kTiles});
}

void given(double& option, double value) {
  if (value != -1) {
    option = value;
  }
}

template <class Options>
Options options_of(const OptimizerBaseline& baseline) {
  Options options;
  given(options.lr, baseline.lr);
  given(options.weight_decay, baseline.weight_decay);
  options.maximize = baseline.maximize;
  if constexpr (requires { options.betas; }) {
    given(options.betas.first, baseline.beta1);
    given(options.betas.second, baseline.beta2);
  }
  if constexpr (requires { options.eps; }) {
    given(options.eps, baseline.eps);
  }
  if constexpr (requires { options.amsgrad; }) {
    options.amsgrad = baseline.amsgrad;
  }
  if constexpr (requires { options.momentum; }) {
    given(options.momentum, baseline.momentum);
    given(options.dampening, baseline.dampening);
    options.nesterov = baseline.nesterov;
  }
  if constexpr (requires { options.lr_decay; }) {
    given(options.lr_decay, baseline.lr_decay);
    given(options.initial_accumulator_value, baseline.initial_accumulator_value);
  }
  return options;
}

template <class Optimizer>
void check(const OptimizerBaseline& baseline) {
  // Two parameters, so that a call has more than one.
  auto a = first_values().requires_grad_();
  auto b = first_values().slice(0, 0, kElements).clone().requires_grad_();
  Optimizer optimizer(std::vector<torch::Tensor>{a, b},
                      options_of<typename Optimizer::Options>(baseline));
  fabric::Schedule schedule;
  if (baseline.one_cycle) {
    schedule = fabric::Schedule(optimizer, fabric::OneCycleLR{.steps = 100});
  }
  std::size_t result = 0;
  for (int64_t step = 1; step <= 100; ++step) {
    a.mutable_grad() = a.detach() * 0.25 + noise(step);
    b.mutable_grad() = b.detach() * 0.25 + noise(step).slice(0, 0, kElements);
    optimizer.step();
    if (baseline.one_cycle) {
      schedule.step();
    }
    if (step == 1 || step == 10 || step == 100) {
      const auto expected = torch::tensor(baseline.values.at(result++), torch::kDouble);
      CAPTURE(step);
      CHECK((a - expected.repeat({kTiles})).abs().max().item<double>() < 1e-12);
      CHECK((b - expected).abs().max().item<double>() < 1e-12);
    }
  }
  CHECK(result == 3);
}

}  // namespace

TEST_CASE("fused optimizers have the values of Python's after 1, 10 and 100 steps") {
  int seen = 0;
  for (const OptimizerBaseline& baseline : kOptimizerBaseline) {
    CAPTURE(baseline.optimizer);
    CAPTURE(seen);
    ++seen;
    if (baseline.optimizer == "AdamW") {
      check<fabric::FusedAdamW>(baseline);
    } else if (baseline.optimizer == "Adam") {
      check<fabric::FusedAdam>(baseline);
    } else if (baseline.optimizer == "SGD") {
      check<fabric::FusedSGD>(baseline);
    } else if (baseline.optimizer == "Adagrad") {
      check<fabric::FusedAdagrad>(baseline);
    } else {
      REQUIRE(baseline.optimizer == "Lion");
      check<fabric::Lion>(baseline);
    }
  }
  CHECK(seen == 26);
}
