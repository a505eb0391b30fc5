// Learning-rate schedules: Python's numbers, resuming anywhere, and what is refused.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <sstream>

#include <torch/torch.h>

#include <fabric/fabric.h>
#include <fabric/optim/optimizers.h>
#include <fabric/optim/schedules.h>
#include <tests/baselines/schedule_baseline.h>

namespace {

using fabric::Schedule;

constexpr std::int64_t kSteps = 1000, kEvery = 50;
constexpr double kPython = 1e-7;

std::unique_ptr<torch::optim::SGD> two_groups(double first = 0.1, double second = 0.003) {
  std::vector<torch::optim::OptimizerParamGroup> groups;
  for (const double lr : {first, second}) {
    groups.emplace_back(
        std::vector{torch::zeros({1}, torch::requires_grad())},
        std::make_unique<torch::optim::SGDOptions>(torch::optim::SGDOptions(lr).momentum(0.9)));
  }
  return std::make_unique<torch::optim::SGD>(std::move(groups), torch::optim::SGDOptions(1.0));
}

/// The same groups of a fused optimizer.
std::unique_ptr<fabric::FusedSGD> two_fused_groups() {
  std::vector<torch::optim::OptimizerParamGroup> groups;
  for (const double lr : {0.1, 0.003}) {
    groups.push_back(fabric::parameter_group(std::vector{torch::zeros({1}, torch::requires_grad())},
                                             fabric::FusedSGDOptions{.lr = lr, .momentum = 0.9}));
  }
  return std::make_unique<fabric::FusedSGD>(std::move(groups));
}

double momentum_of(const torch::optim::OptimizerOptions& options) {
  if (const auto* sgd = dynamic_cast<const torch::optim::SGDOptions*>(&options)) {
    return sgd->momentum();
  }
  return dynamic_cast<const fabric::FusedGroupOptions<fabric::FusedSGDOptions>&>(options)
      .values.momentum;
}

double lr_of(torch::optim::Optimizer& optimizer, std::size_t group) {
  return optimizer.param_groups()[group].options().get_lr();
}

Schedule make(const std::string& name, torch::optim::Optimizer& o) {
  using namespace fabric;
  if (name == "ConstantLR") return {o, ConstantLR{.factor = 0.25, .steps = 175}};
  if (name == "LinearLR")
    return {o, LinearLR{.start_factor = 0.2, .end_factor = 0.9, .steps = 620}};
  if (name == "PolynomialLR") return {o, PolynomialLR{.steps = 930, .power = 1.7}};
  if (name == "ExponentialLR") return {o, ExponentialLR{.gamma = 0.997}};
  if (name == "StepLR") return {o, StepLR{.step_size = 150, .gamma = 0.3}};
  if (name == "MultiStepLR") return {o, MultiStepLR{.milestones = {50, 300, 710}, .gamma = 0.2}};
  if (name == "CosineAnnealingLR") return {o, CosineAnnealingLR{.steps = 400, .min_lr = 1e-5}};
  if (name == "CosineAnnealingWarmRestarts")
    return {o, CosineAnnealingWarmRestarts{.period = 60, .factor = 2, .min_lr = 1e-5}};
  if (name == "CosineAnnealingWarmRestarts equal")
    return {o, CosineAnnealingWarmRestarts{.period = 70}};
  if (name == "OneCycleLR") return {o, OneCycleLR{.steps = kSteps + 1, .max_lr = {0.2, 0.01}}};
  if (name == "OneCycleLR linear")
    return {o, OneCycleLR{.steps = kSteps + 1,
                          .max_lr = {0.2},
                          .pct_start = 0.2,
                          .anneal = Anneal::linear,
                          .div_factor = 10,
                          .final_div_factor = 100,
                          .three_phase = true}};
  if (name == "LambdaLR")
    return {o, LambdaLR{.factors = {[](std::int64_t t) { return 1.0 / (1.0 + t); },
                                    [](std::int64_t t) { return std::pow(0.99, t); }}}};
  if (name == "SequentialLR")
    return {o, SequentialLR{.curves = {LinearLR{.start_factor = 0.01, .steps = 120},
                                       CosineAnnealingLR{.steps = 700, .min_lr = 1e-4},
                                       ExponentialLR{.gamma = 0.99}},
                            .milestones = {120, 820}}};
  if (name == "ChainedScheduler")
    return {o, ChainedScheduler{.curves = {ConstantLR{.factor = 0.25, .steps = 75},
                                           ExponentialLR{.gamma = 0.999},
                                           StepLR{.step_size = 200, .gamma = 0.5}}}};
  REQUIRE(name == "warmup_cosine");
  return warmup_cosine(o, {.warmup_steps = 100, .steps = 900});
}

// How far a run is from Python's, from what both show at every 50th step.
double distance(const ScheduleBaseline& python, torch::optim::Optimizer& optimizer,
                std::int64_t step) {
  const auto i = static_cast<std::size_t>(step / kEvery);
  double distance = std::max(std::abs(lr_of(optimizer, 0) - python.first[i]),
                             std::abs(lr_of(optimizer, 1) - python.second[i]));
  if (!python.momentum.empty()) {
    const double momentum = momentum_of(optimizer.param_groups()[0].options());
    distance = std::max(distance, std::abs(momentum - python.momentum[i]));
  }
  return std::isnan(distance) ? std::numeric_limits<double>::infinity() : distance;
}

}  // namespace

TEST_SUITE("schedules") {
  TEST_CASE("the rates are Python's over 1000 steps, in two groups") {
    CHECK(kScheduleBaseline.size() == 15);
    for (const ScheduleBaseline& python : kScheduleBaseline) {
      CAPTURE(python.name);
      REQUIRE(python.first.size() == kSteps / kEvery + 1);
      const auto plain = two_groups();
      const auto fused = two_fused_groups();
      for (torch::optim::Optimizer* optimizer :
           std::initializer_list<torch::optim::Optimizer*>{plain.get(), fused.get()}) {
        Schedule schedule = make(python.name, *optimizer);
        double error = 0;
        for (std::int64_t step = 0; step <= kSteps; ++step) {
          if (step % kEvery == 0) {
            error = std::max(error, distance(python, *optimizer, step));
          }
          if (step < kSteps) {
            schedule.step();
          }
        }
        CHECK(error < kPython);
        CHECK(schedule.steps() == kSteps);
        CHECK(schedule.last_lr()[0] == lr_of(*optimizer, 0));
        CHECK(schedule.last_lr()[1] == lr_of(*optimizer, 1));
      }
    }
  }

  TEST_CASE("a run that stops in the middle resumes with Python's rates, from an archive") {
    for (const ScheduleBaseline& python : kScheduleBaseline) {
      CAPTURE(python.name);
      std::stringstream saved_schedule, saved_optimizer;
      {
        auto optimizer = two_groups();
        Schedule schedule = make(python.name, *optimizer);
        for (std::int64_t step = 0; step < 430; ++step) {
          schedule.step();
        }
        torch::save(schedule, saved_schedule);
        torch::save(*optimizer, saved_optimizer);
      }
      // The optimizer first: its rates are those of step 430 when the schedule is made.
      auto optimizer = two_groups(7, 8);
      torch::load(*optimizer, saved_optimizer);
      Schedule schedule = make(python.name, *optimizer);
      torch::load(schedule, saved_schedule);
      CHECK(schedule.steps() == 430);
      double error = 0;
      while (schedule.steps() < kSteps) {
        schedule.step();
        if (schedule.steps() % kEvery == 0) {
          error = std::max(error, distance(python, *optimizer, schedule.steps()));
        }
      }
      CHECK(error < kPython);
    }
  }

  TEST_CASE("lr_at shows a curve without moving it, go_to jumps") {
    auto optimizer = two_groups();
    Schedule schedule(*optimizer, fabric::LinearLR{.start_factor = 0, .steps = 10});
    CHECK(schedule.lr_at(5)[0] == doctest::Approx(0.05));
    CHECK(schedule.last_lr()[0] == 0);
    schedule.go_to(5);
    CHECK(lr_of(*optimizer, 1) == doctest::Approx(0.0015));
    CHECK_THROWS_AS(schedule.go_to(-1), fabric::MisconfigurationError);
    schedule.scale(0.5);
    CHECK(lr_of(*optimizer, 1) == doctest::Approx(0.00075));
    schedule.go_to(100);
    CHECK(lr_of(*optimizer, 0) == doctest::Approx(0.05));
    CHECK_THROWS_AS(schedule.scale(0), fabric::MisconfigurationError);
  }

  TEST_CASE("warm-up ends in a cosine, a line or nothing, and stays there") {
    auto optimizer = two_groups();
    const fabric::WarmupOptions options{
        .warmup_steps = 10, .steps = 30, .start_factor = 0.1, .end_factor = 0.2};
    const Schedule cosine = fabric::warmup_cosine(*optimizer, options);
    CHECK(lr_of(*optimizer, 0) == doctest::Approx(0.01));
    cosine.lr_at(0);
    CHECK(cosine.lr_at(10)[0] == doctest::Approx(0.1));
    CHECK(cosine.lr_at(15)[0] == doctest::Approx(0.1 * (0.2 + 0.8 * (1 + std::sqrt(0.5)) / 2)));
    CHECK(cosine.lr_at(30)[0] == doctest::Approx(0.02));
    CHECK(cosine.lr_at(1000)[0] == doctest::Approx(0.02));
    auto second = two_groups();
    CHECK(fabric::warmup_linear(*second, options).lr_at(20)[0] == doctest::Approx(0.06));
    auto third = two_groups();
    CHECK(fabric::warmup_constant(*third, {.warmup_steps = 10}).lr_at(1000)[0] ==
          doctest::Approx(0.1));
    CHECK_THROWS_WITH_AS(fabric::warmup_cosine(*third, {.warmup_steps = 10, .steps = 10}),
                         doctest::Contains("takes the whole run"), fabric::MisconfigurationError);
  }

  TEST_CASE("a handle keeps its optimizer; a group added later joins at the next step") {
    fabric::Fabric fabric;
    auto optimizer = fabric.setup_optimizers(
        torch::optim::Adam({torch::zeros({1}, torch::requires_grad())}, 0.1));
    Schedule schedule(optimizer, fabric::ExponentialLR{.gamma = 0.5});
    optimizer.add_param_group(torch::optim::OptimizerParamGroup(
        {torch::zeros({1}, torch::requires_grad())},
        std::make_unique<torch::optim::AdamOptions>(torch::optim::AdamOptions(0.4))));
    schedule.step();
    CHECK(schedule.last_lr()[0] == doctest::Approx(0.05));
    CHECK(schedule.last_lr()[1] == doctest::Approx(0.2));
    optimizer = {};
    schedule.step();
    CHECK(schedule.last_lr()[1] == doctest::Approx(0.1));
  }

  TEST_CASE("one cycle moves the first beta of Adam and refuses an optimizer without momentum") {
    torch::optim::AdamW adam({torch::zeros({1}, torch::requires_grad())}, 0.1);
    Schedule schedule(adam, fabric::OneCycleLR{.steps = 11});
    const auto& options =
        static_cast<torch::optim::AdamWOptions&>(adam.param_groups()[0].options());
    CHECK(std::get<0>(options.betas()) == doctest::Approx(0.95));
    CHECK(lr_of(adam, 0) == doctest::Approx(0.004));  // the group's own rate is the largest
    schedule.go_to(10);
    CHECK(lr_of(adam, 0) == doctest::Approx(0.1 / 25 / 1e4));
    schedule.step();  // the call after the last step of a loop
    CHECK(lr_of(adam, 0) == doctest::Approx(0.1 / 25 / 1e4));
    CHECK_THROWS_WITH_AS(schedule.step(),
                         doctest::Contains("OneCycleLR is at its end; got step 12"),
                         fabric::MisconfigurationError);
    CHECK(schedule.steps() == 11);
    torch::optim::Adagrad plain({torch::zeros({1}, torch::requires_grad())}, 0.1);
    CHECK_THROWS_WITH_AS(Schedule(plain, fabric::OneCycleLR{.steps = 10}),
                         doctest::Contains("cycle_momentum = false"),
                         fabric::MisconfigurationError);
    CHECK_NOTHROW(Schedule(plain, fabric::OneCycleLR{.steps = 10, .cycle_momentum = false}));
    fabric::FusedAdagrad fused({torch::zeros({1}, torch::requires_grad())});
    CHECK_THROWS_WITH_AS(Schedule(fused, fabric::OneCycleLR{.steps = 10}),
                         doctest::Contains("fabric::MomentumOptions"),
                         fabric::MisconfigurationError);
    CHECK_NOTHROW(Schedule(fused, fabric::OneCycleLR{.steps = 10, .cycle_momentum = false}));
  }

  TEST_CASE("one cycle trains fused optimizers as it trains LibTorch's") {
    constexpr int kLength = 60;
    const auto check = [](auto&& fused, auto&& plain) {
      const auto values = [] {
        torch::manual_seed(1);
        return std::vector{torch::randn({9}, torch::kDouble).requires_grad_(),
                           torch::randn({4, 5}, torch::kDouble).requires_grad_()};
      };
      const auto ours = values(), theirs = values();
      auto own = fused(ours);
      auto other = plain(theirs);
      const fabric::OneCycleLR curve{.steps = kLength, .max_lr = {0.05}, .base_momentum = 0.5};
      Schedule own_schedule(own, curve), other_schedule(other, curve);
      for (int step = 0; step < kLength; ++step) {
        for (std::size_t i = 0; i < ours.size(); ++i) {
          ours[i].mutable_grad() = ours[i].detach() * 0.3 + std::sin(step);
          theirs[i].mutable_grad() = theirs[i].detach() * 0.3 + std::sin(step);
        }
        own.step();
        other.step();
        own_schedule.step();
        other_schedule.step();
      }
      for (std::size_t i = 0; i < ours.size(); ++i) {
        CHECK((ours[i] - theirs[i]).abs().max().template item<double>() < 1e-12);
      }
    };
    using Values = std::vector<torch::Tensor>;
    using namespace torch::optim;
    check([](const Values& v) { return fabric::FusedAdamW(v, {.lr = 1e-3}); },
          [](const Values& v) { return AdamW(v, AdamWOptions(1e-3)); });
    check([](const Values& v) { return fabric::FusedAdam(v, {.amsgrad = true}); },
          [](const Values& v) { return Adam(v, AdamOptions(1e-3).amsgrad(true)); });
    check([](const Values& v) { return fabric::FusedSGD(v, {.lr = 0.1, .momentum = 0.9}); },
          [](const Values& v) { return SGD(v, SGDOptions(0.1).momentum(0.9)); });
  }

  TEST_CASE("a rate that somebody else changes is an error, not undone in silence") {
    auto optimizer = two_groups();
    Schedule first(*optimizer, fabric::ExponentialLR{.gamma = 0.5});
    Schedule second(*optimizer, fabric::LinearLR{.steps = 10});
    CHECK_THROWS_WITH_AS(first.step(), doctest::Contains("one Schedule an optimizer"),
                         fabric::MisconfigurationError);
    CHECK(first.steps() == 0);
    CHECK_NOTHROW(second.step());
    optimizer->param_groups()[1].options().set_lr(1.0);
    CHECK_THROWS_WITH_AS(second.step(), doctest::Contains("got 1 in group 1"),
                         fabric::MisconfigurationError);
  }

  TEST_CASE("curves that cannot be are refused when they are put on") {
    auto optimizer = two_groups();
    const auto refused = [&](fabric::Curve curve, const char* text) {
      CHECK_THROWS_WITH_AS(Schedule(*optimizer, std::move(curve)), doctest::Contains(text),
                           fabric::MisconfigurationError);
    };
    refused(fabric::CosineAnnealingLR{}, "got steps=0");
    refused(fabric::LinearLR{.steps = -3}, "got steps=-3");
    refused(fabric::StepLR{}, "got step_size=0");
    refused(fabric::MultiStepLR{.milestones = {5, 5}}, "got 5 after 5");
    refused(fabric::OneCycleLR{.steps = 10, .max_lr = {1, 2, 3}}, "got 3 and 2");
    refused(fabric::OneCycleLR{.steps = 10, .pct_start = 0.6, .three_phase = true},
            "pct_start=0.6");
    refused(fabric::LambdaLR{}, "got neither");
    refused(fabric::LambdaLR{.factors = {[](std::int64_t) { return 1.0; }}}, "got 1");
    refused(fabric::SequentialLR{.curves = {fabric::ConstantLR{}}, .milestones = {5}},
            "got 1 curves and 1 milestones");
    refused(
        fabric::SequentialLR{.curves = {fabric::ConstantLR{}, fabric::StepLR{}}, .milestones = {5}},
        "got step_size=0");
    refused(fabric::ChainedScheduler{}, "no curves");
    CHECK(lr_of(*optimizer, 0) == 0.1);
    CHECK_THROWS_AS(Schedule(fabric::FabricOptimizer(), fabric::ConstantLR{}),
                    fabric::NotLaunchedError);
    CHECK_THROWS_AS(Schedule().step(), fabric::NotLaunchedError);
    Schedule fine(*optimizer, fabric::ConstantLR{});
    CHECK_THROWS_WITH_AS(fine.set_state({.step = 1, .base_lrs = {1, 2, 3}}),
                         doctest::Contains("got 3 groups"), fabric::CheckpointError);
    std::stringstream other;
    torch::save(torch::zeros({1}), other);
    CHECK_THROWS_AS(torch::load(fine, other), fabric::CheckpointError);
  }
}
