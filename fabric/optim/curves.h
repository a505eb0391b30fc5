// Shapes of a learning rate over the steps of a run, as values: what a Schedule follows.
//
// Each is a function of the step alone, so a run may start, stop and resume at any of them and ends
// up with the same numbers. They are those of torch.optim.lr_scheduler; fields whose name is not
// Python's say so. Steps count from 0, the first one of the optimizer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <fabric/config/help.h>

namespace fabric {

/// What a curve may depend on besides the step.
struct CurvePoint {
  std::int64_t step = 0;
  std::size_t group = 0;  ///< of the optimizer
  double base_lr = 0;     ///< of the group, when the schedule was made
};

/// Any of the shapes below, or the user's own: a type with `double lr(CurvePoint) const`, if wanted
/// `std::string invalid(std::size_t groups) const`, which says what cannot work, and
/// `std::optional<double> momentum(CurvePoint) const`.
class Curve {
 public:
  template <class Shape>
    requires requires(const Shape& shape, CurvePoint point) { shape.lr(point); } &&
                 (!std::is_same_v<Shape, Curve>)
  Curve(Shape shape)
      : lr_([shape](CurvePoint point) { return shape.lr(point); }),
        invalid_([shape]([[maybe_unused]] std::size_t groups) -> std::string {
          if constexpr (requires { shape.invalid(groups); }) {
            return shape.invalid(groups);
          }
          return {};
        }) {
    if constexpr (requires(CurvePoint point) { shape.momentum(point); }) {
      momentum_ = [shape](CurvePoint point) { return shape.momentum(point); };
    }
  }

  double lr(CurvePoint point) const { return lr_(point); }
  /// SGD's momentum or Adam's first beta at this step, where the curve says something of it.
  std::optional<double> momentum(CurvePoint point) const {
    return momentum_ ? momentum_(point) : std::nullopt;
  }
  /// What is wrong with the numbers of a curve; empty where they make one.
  /// @param groups how many the optimizer has; 0 where that is not known yet
  std::string invalid(std::size_t groups) const { return invalid_(groups); }

 private:
  std::function<double(CurvePoint)> lr_;
  std::function<std::optional<double>(CurvePoint)> momentum_;
  std::function<std::string(std::size_t)> invalid_;
};

/// `factor` times the base rate for `steps`, then the base rate.
struct ConstantLR {
  double factor = 1.0 / 3;
  FABRIC_HELP(factor, "of the base rate, in the first steps")
  std::int64_t steps = 5;
  FABRIC_HELP(steps, "how many those are; Python's total_iters")

  double lr(CurvePoint point) const;
  std::string invalid(std::size_t groups = 0) const;
};

/// A straight line from `start_factor` to `end_factor` times the base rate in `steps`, flat
/// afterwards: warm-up, or decay.
struct LinearLR {
  double start_factor = 1.0 / 3;
  FABRIC_HELP(start_factor, "of the base rate, at the first step")
  double end_factor = 1.0;
  FABRIC_HELP(end_factor, "of the base rate, from the last step of the line on")
  std::int64_t steps = 5;
  FABRIC_HELP(steps, "how long the line is; Python's total_iters")

  double lr(CurvePoint point) const;
  std::string invalid(std::size_t groups = 0) const;
};

/// From the base rate to nothing in `steps`, as a power of what is left of them.
struct PolynomialLR {
  std::int64_t steps = 5;
  FABRIC_HELP(steps, "until the rate is 0; Python's total_iters")
  double power = 1.0;
  FABRIC_HELP(power, "1 for a straight line")

  double lr(CurvePoint point) const;
  std::string invalid(std::size_t groups = 0) const;
};

/// gammaˢᵗᵉᵖ times the base rate.
struct ExponentialLR {
  double gamma = 0.99;
  FABRIC_HELP(gamma, "what each step multiplies the rate with")

  double lr(CurvePoint point) const;
  std::string invalid(std::size_t groups = 0) const;
};

/// `gamma` times less every `step_size` steps.
struct StepLR {
  std::int64_t step_size = 0;
  FABRIC_HELP(step_size, "after how many steps the rate falls, again and again")
  double gamma = 0.1;
  FABRIC_HELP(gamma, "what it is multiplied with")

  double lr(CurvePoint point) const;
  std::string invalid(std::size_t groups = 0) const;
};

/// `gamma` times less at each milestone.
struct MultiStepLR {
  std::vector<std::int64_t> milestones{};
  FABRIC_HELP(milestones, "the steps at which the rate falls, increasing")
  double gamma = 0.1;
  FABRIC_HELP(gamma, "what it is multiplied with")

  double lr(CurvePoint point) const;
  std::string invalid(std::size_t groups = 0) const;
};

/// Half a wave of the cosine from the base rate down to `min_lr` in `steps`. As in Python the wave
/// goes on: at 2·steps it is up again (`warmup_cosine` stays down).
struct CosineAnnealingLR {
  std::int64_t steps = 0;
  FABRIC_HELP(steps, "until the lowest rate; Python's T_max")
  double min_lr = 0;
  FABRIC_HELP(min_lr, "the lowest rate; Python's eta_min")

  double lr(CurvePoint point) const;
  std::string invalid(std::size_t groups = 0) const;
};

/// The same again and again, each period `factor` times as long as the one before.
struct CosineAnnealingWarmRestarts {
  std::int64_t period = 0;
  FABRIC_HELP(period, "steps of the first wave; Python's T_0")
  std::int64_t factor = 1;
  FABRIC_HELP(factor, "how much longer each wave is than the one before; Python's T_mult")
  double min_lr = 0;
  FABRIC_HELP(min_lr, "the lowest rate; Python's eta_min")

  double lr(CurvePoint point) const;
  std::string invalid(std::size_t groups = 0) const;
};

/// How OneCycleLR goes from one value to the next.
enum class Anneal { cosine, linear };

/// Up to `max_lr` and far down again within `steps`, while momentum goes down and up
/// (Smith and Topin, arXiv:1708.07120; Python's OneCycleLR). The run has no more steps than these.
struct OneCycleLR {
  std::int64_t steps = 0;
  FABRIC_HELP(steps, "of the run; Python's total_steps")
  std::vector<double> max_lr{};
  FABRIC_HELP(max_lr, "one, or one a group; empty: the base rates are the largest")
  double pct_start = 0.3;
  FABRIC_HELP(pct_start, "the part of the steps that goes up")
  Anneal anneal = Anneal::cosine;
  FABRIC_HELP(anneal, "how the rate goes from one value to the next")
  bool cycle_momentum = true;
  FABRIC_HELP(cycle_momentum, "whether momentum, or the first beta, goes down and up")
  double base_momentum = 0.85;
  FABRIC_HELP(base_momentum, "the lowest")
  double max_momentum = 0.95;
  FABRIC_HELP(max_momentum, "the largest")
  double div_factor = 25;
  FABRIC_HELP(div_factor, "max_lr / rate at the begin")
  double final_div_factor = 1e4;
  FABRIC_HELP(final_div_factor, "rate at the begin / rate at the end")
  bool three_phase = false;
  FABRIC_HELP(three_phase, "down again as fast as up, then on to the end")

  double lr(CurvePoint point) const;
  std::optional<double> momentum(CurvePoint point) const;
  std::string invalid(std::size_t groups = 0) const;
};

/// The user's factor of the step times the base rate; one function, or one a group.
struct LambdaLR {
  std::function<double(std::int64_t step)> factor{};
  std::vector<std::function<double(std::int64_t step)>> factors{};

  double lr(CurvePoint point) const;
  std::string invalid(std::size_t groups = 0) const;
};

/// One curve after the other: curve i+1 begins, at its own step 0, at milestone i.
///
///     fabric::SequentialLR{.curves = {fabric::LinearLR{.steps = 100},
///                                     fabric::CosineAnnealingLR{.steps = 900}},
///                          .milestones = {100}}
struct SequentialLR {
  std::vector<Curve> curves{};
  std::vector<std::int64_t> milestones{};  ///< increasing, one less than curves

  double lr(CurvePoint point) const;
  std::optional<double> momentum(CurvePoint point) const;
  std::string invalid(std::size_t groups = 0) const;
};

/// All curves at once: each starts from what the one before it gives in place of the base rate, so
/// their factors multiply. Python's agrees where curves are factors; its recursion gives others for
/// cosines with a `min_lr`.
struct ChainedScheduler {
  std::vector<Curve> curves{};

  double lr(CurvePoint point) const;
  std::optional<double> momentum(CurvePoint point) const;
  std::string invalid(std::size_t groups = 0) const;
};

}  // namespace fabric
