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
#include <type_traits>
#include <utility>
#include <vector>

namespace fabric {

/// What a curve may depend on besides the step.
struct CurvePoint {
  std::int64_t step = 0;
  std::size_t group = 0;  ///< of the optimizer
  double base_lr = 0;     ///< of the group, when the schedule was made
};

/// Any of the shapes below, or the user's own: a type with `double lr(CurvePoint) const`, if wanted
/// `void check(std::size_t groups) const`, which throws for what cannot work, and
/// `std::optional<double> momentum(CurvePoint) const`.
class Curve {
 public:
  template <class Shape>
    requires requires(const Shape& shape, CurvePoint point) { shape.lr(point); } &&
                 (!std::is_same_v<Shape, Curve>)
  Curve(Shape shape)
      : lr_([shape](CurvePoint point) { return shape.lr(point); }),
        check_([shape]([[maybe_unused]] std::size_t groups) {
          if constexpr (requires { shape.check(groups); }) {
            shape.check(groups);
          }
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
  /// @param groups how many the optimizer has
  /// @throws MisconfigurationError for numbers that make no curve
  void check(std::size_t groups) const { check_(groups); }

 private:
  std::function<double(CurvePoint)> lr_;
  std::function<std::optional<double>(CurvePoint)> momentum_;
  std::function<void(std::size_t)> check_;
};

/// `factor` times the base rate for `steps` (total_iters), then the base rate.
struct ConstantLR {
  double factor = 1.0 / 3;
  std::int64_t steps = 5;

  double lr(CurvePoint point) const;
  void check(std::size_t groups) const;
};

/// A straight line from `start_factor` to `end_factor` times the base rate in `steps`
/// (total_iters), flat afterwards: warm-up, or decay.
struct LinearLR {
  double start_factor = 1.0 / 3;
  double end_factor = 1.0;
  std::int64_t steps = 5;

  double lr(CurvePoint point) const;
  void check(std::size_t groups) const;
};

/// From the base rate to nothing in `steps` (total_iters), as a power of what is left of them.
struct PolynomialLR {
  std::int64_t steps = 5;
  double power = 1.0;

  double lr(CurvePoint point) const;
  void check(std::size_t groups) const;
};

/// gammaˢᵗᵉᵖ times the base rate.
struct ExponentialLR {
  double gamma = 0.99;

  double lr(CurvePoint point) const;
  void check(std::size_t groups) const;
};

/// `gamma` times less every `step_size` steps.
struct StepLR {
  std::int64_t step_size = 0;
  double gamma = 0.1;

  double lr(CurvePoint point) const;
  void check(std::size_t groups) const;
};

/// `gamma` times less at each milestone.
struct MultiStepLR {
  std::vector<std::int64_t> milestones{};  ///< increasing
  double gamma = 0.1;

  double lr(CurvePoint point) const;
  void check(std::size_t groups) const;
};

/// Half a wave of the cosine from the base rate down to `min_lr` (eta_min) in `steps` (T_max). As
/// in Python the wave goes on: at 2·steps it is up again (`warmup_cosine` stays down).
struct CosineAnnealingLR {
  std::int64_t steps = 0;
  double min_lr = 0;

  double lr(CurvePoint point) const;
  void check(std::size_t groups) const;
};

/// The same again and again, each period `factor` (T_mult, whole) times as long as the one before.
struct CosineAnnealingWarmRestarts {
  std::int64_t period = 0;  ///< the first one (T_0)
  std::int64_t factor = 1;
  double min_lr = 0;

  double lr(CurvePoint point) const;
  void check(std::size_t groups) const;
};

/// How OneCycleLR goes from one value to the next.
enum class Anneal { cosine, linear };

/// Up to `max_lr` and far down again within `steps` (total_steps), while momentum goes down and up
/// (Smith and Topin, arXiv:1708.07120; Python's OneCycleLR). The run has no more steps than these.
struct OneCycleLR {
  std::int64_t steps = 0;
  std::vector<double> max_lr{};  ///< one, or one a group; empty: the base rates are the largest
  double pct_start = 0.3;        ///< the part of the steps that goes up
  Anneal anneal = Anneal::cosine;
  bool cycle_momentum = true;  ///< of SGD and RMSprop, or the first beta of Adam, AdamW and Lion
  double base_momentum = 0.85;
  double max_momentum = 0.95;
  double div_factor = 25;         ///< max_lr / rate at the begin
  double final_div_factor = 1e4;  ///< rate at the begin / rate at the end
  bool three_phase = false;

  double lr(CurvePoint point) const;
  std::optional<double> momentum(CurvePoint point) const;
  void check(std::size_t groups) const;
};

/// The user's factor of the step times the base rate; one function, or one a group.
struct LambdaLR {
  std::function<double(std::int64_t step)> factor{};
  std::vector<std::function<double(std::int64_t step)>> factors{};

  double lr(CurvePoint point) const;
  void check(std::size_t groups) const;
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
  void check(std::size_t groups) const;
};

/// All curves at once: each starts from what the one before it gives in place of the base rate, so
/// their factors multiply. Python's agrees where curves are factors; its recursion gives others for
/// cosines with a `min_lr`.
struct ChainedScheduler {
  std::vector<Curve> curves{};

  double lr(CurvePoint point) const;
  std::optional<double> momentum(CurvePoint point) const;
  void check(std::size_t groups) const;
};

}  // namespace fabric
