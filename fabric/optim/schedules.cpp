#include <fabric/optim/schedules.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <tuple>
#include <utility>

#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/rmsprop.h>
#include <torch/optim/sgd.h>
#include <torch/serialize/archive.h>

#include <accelerators/error.h>
#include <fabric/checkpoint/state_node.h>
#include <fabric/optim/group_options.h>

namespace fabric {
namespace {

using torch::optim::OptimizerOptions;

// Sets SGD's momentum or Adam's first beta. Whether there is one.
bool set_momentum(OptimizerOptions& options, double momentum) {
  if (auto* shown = dynamic_cast<MomentumOptions*>(&options)) {
    if (shown->momentum() == nullptr) {
      return false;
    }
    shown->set_momentum(momentum);
  } else if (auto* sgd = dynamic_cast<torch::optim::SGDOptions*>(&options)) {
    sgd->momentum(momentum);
  } else if (auto* rmsprop = dynamic_cast<torch::optim::RMSpropOptions*>(&options)) {
    rmsprop->momentum(momentum);
  } else if (auto* adam = dynamic_cast<torch::optim::AdamOptions*>(&options)) {
    adam->betas({momentum, std::get<1>(adam->betas())});
  } else if (auto* adamw = dynamic_cast<torch::optim::AdamWOptions*>(&options)) {
    adamw->betas({momentum, std::get<1>(adamw->betas())});
  } else {
    return false;
  }
  return true;
}

// A rate that an optimizer keeps in a tensor comes back rounded.
bool same_rate(double left, double right) {
  return std::abs(left - right) <= 1e-6 * std::max(std::abs(left), std::abs(right)) ||
         (std::isnan(left) && std::isnan(right));
}

}  // namespace

struct Schedule::Shared {
  FabricOptimizer handle;  // keeps the optimizer, where it was made from a handle
  torch::optim::Optimizer* optimizer;
  Curve curve;
  ScheduleState state{};
  std::vector<double> set{};

  std::vector<double> rates_at(std::int64_t step) const {
    std::vector<double> rates;
    for (std::size_t g = 0; g < state.base_lrs.size(); ++g) {
      rates.push_back(curve.lr({.step = step, .group = g, .base_lr = state.base_lrs[g]}));
    }
    return rates;
  }
};

Schedule::Schedule(FabricOptimizer optimizer, Curve curve)
    : Schedule(optimizer.optimizer(), std::move(curve)) {
  shared_->handle = std::move(optimizer);
}

Schedule::Schedule(torch::optim::Optimizer& optimizer, Curve curve)
    : shared_(std::make_shared<Shared>(
          Shared{.handle = {}, .optimizer = &optimizer, .curve = std::move(curve)})) {
  const std::string wrong = shared_->curve.invalid(optimizer.param_groups().size());
  FABRIC_CHECK(Misconfiguration, wrong.empty(), "[fabric.schedule] ", wrong);
  for (const auto& group : optimizer.param_groups()) {
    shared_->state.base_lrs.push_back(group.options().get_lr());
  }
  apply();
}

Schedule::Shared& Schedule::shared() const {
  FABRIC_CHECK(NotLaunched, shared_ != nullptr, "[fabric.schedule] this Schedule is empty. Hint: ",
               "assign fabric::Schedule(optimizer, …) before you use it.");
  return *shared_;
}

void Schedule::apply() const {
  Shared& own = *shared_;
  auto& groups = own.optimizer->param_groups();
  for (std::size_t g = own.state.base_lrs.size(); g < groups.size(); ++g) {
    own.state.base_lrs.push_back(groups[g].options().get_lr());
  }
  std::vector<double> rates = own.rates_at(own.state.step);
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const auto momentum =
        own.curve.momentum({.step = own.state.step, .group = g, .base_lr = own.state.base_lrs[g]});
    FABRIC_CHECK(
        Misconfiguration, !momentum || set_momentum(groups[g].options(), *momentum),
        "[fabric.schedule] the curve moves the momentum, and this optimizer has none that ",
        "is known; expected SGD, RMSprop, Adam or AdamW of LibTorch, FusedSGD, FusedAdam, ",
        "FusedAdamW or Lion, or options derived from fabric::MomentumOptions. Hint: ",
        "OneCycleLR{.cycle_momentum = false}.");
  }
  for (std::size_t g = 0; g < groups.size(); ++g) {
    groups[g].options().set_lr(rates[g]);
  }
  own.set = std::move(rates);
}

void Schedule::step() {
  Shared& own = shared();
  const auto& groups = own.optimizer->param_groups();
  for (std::size_t g = 0; g < own.set.size() && g < groups.size(); ++g) {
    const double now = groups[g].options().get_lr();
    FABRIC_CHECK(Misconfiguration, same_rate(now, own.set[g]), "[fabric.schedule] somebody else ",
                 "has changed a learning rate, which this schedule would undo; got ", now,
                 " in group ", g, "; expected ", own.set[g], ", as set at step ", own.state.step,
                 ". Hint: one Schedule an optimizer (ChainedScheduler and SequentialLR combine ",
                 "curves), schedule.scale(…) to change rates by hand, and schedule.load(…) where ",
                 "the optimizer was loaded.");
  }
  go_to(own.state.step + 1);
}

void Schedule::go_to(std::int64_t step) {
  Shared& own = shared();
  FABRIC_CHECK(Misconfiguration, step >= 0, "[fabric.schedule] no such step; got ", step,
               "; expected 0 or more");
  static_cast<void>(own.rates_at(step));  // throws before anything has changed
  const std::int64_t before = std::exchange(own.state.step, step);
  try {
    apply();
  } catch (...) {
    own.state.step = before;
    throw;
  }
}

std::int64_t Schedule::steps() const {
  return shared().state.step;
}

std::vector<double> Schedule::last_lr() const {
  return shared().set;
}

std::vector<double> Schedule::lr_at(std::int64_t step) const {
  return shared().rates_at(step);
}

void Schedule::scale(double factor) {
  FABRIC_CHECK(Misconfiguration, factor > 0 && std::isfinite(factor), "[fabric.schedule] scale ",
               "would stop the run; got ", factor, "; expected a factor greater than 0");
  for (double& base : shared().state.base_lrs) {
    base *= factor;
  }
  apply();
}

// ---- state --------------------------------------------------------------------------------------

ScheduleState Schedule::state() const {
  return shared().state;
}

void Schedule::set_state(const ScheduleState& state) {
  Shared& own = shared();
  const std::size_t groups = own.optimizer->param_groups().size();
  FABRIC_CHECK(Checkpoint, state.base_lrs.size() <= groups && state.step >= 0,
               "[fabric.schedule] the saved schedule does not fit; got ", state.base_lrs.size(),
               " groups at step ", state.step, "; expected at most ", groups,
               ", the groups of the optimizer. Hint: add the groups first.");
  own.state = state;
  apply();
}

StateDict Schedule::save_state(detail::SaveScope& /*scope*/) const {
  const ScheduleState state = this->state();
  return {{"last_epoch", state.step},
          {"base_lrs", to_state(state.base_lrs)},
          {"_step_count", state.step + 1},
          {"_last_lr", to_state(last_lr())}};
}

void Schedule::load_state(const StateDict& from, detail::LoadScope& scope) {
  ScheduleState state;
  try {
    state.step = from["last_epoch"].as<std::int64_t>();
    state.base_lrs = from["base_lrs"].as<std::vector<double>>();
  } catch (const CheckpointError& error) {
    scope.mismatch(error.what());
    return;
  }
  // Behind the optimizer, whose rates are what they were when it was saved.
  scope.finally([own = *this, state]() mutable { own.set_state(state); });
}

void Schedule::save(torch::serialize::OutputArchive& archive) const {
  const ScheduleState state = this->state();
  archive.write("step", c10::IValue(state.step));
  archive.write("base_lrs", c10::IValue(c10::List<double>(c10::ArrayRef<double>(state.base_lrs))));
}

void Schedule::load(torch::serialize::InputArchive& archive) {
  c10::IValue step;
  c10::IValue base_lrs;
  FABRIC_CHECK(
      Checkpoint,
      archive.try_read("step", step) && archive.try_read("base_lrs", base_lrs) && step.isInt() &&
          base_lrs.isDoubleList(),
      "[fabric.schedule] the archive holds no schedule; expected what Schedule::save wrote ",
      "(step and base_lrs)");
  set_state({.step = step.toInt(), .base_lrs = base_lrs.toDoubleVector()});
}

torch::serialize::OutputArchive& operator<<(torch::serialize::OutputArchive& archive,
                                            const Schedule& schedule) {
  schedule.save(archive);
  return archive;
}

torch::serialize::InputArchive& operator>>(torch::serialize::InputArchive& archive,
                                           Schedule& schedule) {
  schedule.load(archive);
  return archive;
}

// ---- warm-up ------------------------------------------------------------------------------------

namespace {

struct Warmup {
  enum Decay { kCosine, kLinear, kConstant };
  WarmupOptions options;
  Decay decay;

  double lr(CurvePoint point) const {
    const auto& [warmup, steps, start, end] = options;
    if (point.step < warmup) {
      const double part = static_cast<double>(point.step) / static_cast<double>(warmup);
      return point.base_lr * (start + (1 - start) * part);
    }
    if (decay == kConstant) {
      return point.base_lr;
    }
    const double part = point.step >= steps ? 1
                                            : static_cast<double>(point.step - warmup) /
                                                  static_cast<double>(steps - warmup);
    const double left = decay == kLinear ? 1 - part : (1 + std::cos(std::numbers::pi * part)) / 2;
    return point.base_lr * (end + (1 - end) * left);
  }

  std::string invalid(std::size_t /*groups*/) const {
    if (options.warmup_steps < 0) {
      return detail::str("warmup_steps is negative; got ", options.warmup_steps);
    }
    if (decay != kConstant && options.steps <= options.warmup_steps) {
      return detail::str("the warm-up takes the whole run; got warmup_steps=", options.warmup_steps,
                         " and steps=", options.steps,
                         "; expected more steps, which count the warm-up too");
    }
    for (const double factor : {options.start_factor, options.end_factor}) {
      if (!(factor >= 0 && std::isfinite(factor))) {
        return detail::str("start_factor and end_factor scale the base rate; got ", factor,
                           "; expected 0 or more");
      }
    }
    return {};
  }
};

}  // namespace

Schedule warmup_cosine(FabricOptimizer optimizer, const WarmupOptions& options) {
  return Schedule(std::move(optimizer), Warmup{options, Warmup::kCosine});
}
Schedule warmup_cosine(torch::optim::Optimizer& optimizer, const WarmupOptions& options) {
  return Schedule(optimizer, Warmup{options, Warmup::kCosine});
}
Schedule warmup_linear(FabricOptimizer optimizer, const WarmupOptions& options) {
  return Schedule(std::move(optimizer), Warmup{options, Warmup::kLinear});
}
Schedule warmup_linear(torch::optim::Optimizer& optimizer, const WarmupOptions& options) {
  return Schedule(optimizer, Warmup{options, Warmup::kLinear});
}
Schedule warmup_constant(FabricOptimizer optimizer, const WarmupOptions& options) {
  return Schedule(std::move(optimizer), Warmup{options, Warmup::kConstant});
}
Schedule warmup_constant(torch::optim::Optimizer& optimizer, const WarmupOptions& options) {
  return Schedule(optimizer, Warmup{options, Warmup::kConstant});
}

}  // namespace fabric
