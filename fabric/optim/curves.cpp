#include <fabric/optim/curves.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <tuple>

#include <accelerators/error.h>

namespace fabric {
namespace {

void check_steps(const char* curve, const char* field, std::int64_t steps) {
  FABRIC_CHECK(Misconfiguration, steps > 0, "[fabric.schedule] ", curve, " needs a length; got ",
               field, "=", steps, "; expected at least 1. Hint: count optimizer steps, or epochs, ",
               "whichever you call schedule.step() after.");
}

void check_number(const char* curve, const char* field, bool good, double value,
                  const char* expected) {
  FABRIC_CHECK(Misconfiguration, good && std::isfinite(value), "[fabric.schedule] ", curve,
               " cannot work; got ", field, "=", value, "; expected ", expected);
}

void check_increasing(const char* curve, const std::vector<std::int64_t>& milestones) {
  for (std::size_t i = 0; i < milestones.size(); ++i) {
    const std::int64_t before = i == 0 ? 0 : milestones[i - 1];
    FABRIC_CHECK(Misconfiguration, milestones[i] > before, "[fabric.schedule] the milestones of ",
                 curve, " do not increase; got ", milestones[i], " after ", before,
                 "; expected steps greater than 0, each greater than the one before");
  }
}

// The value between `high` at 0 and `low` at 1 on half a wave.
double half_wave(double high, double low, double position) {
  return low + (high - low) * (1 + std::cos(std::numbers::pi * position)) / 2;
}

double part_of(std::int64_t step, std::int64_t steps) {
  return static_cast<double>(std::min(step, steps)) / static_cast<double>(steps);
}

}  // namespace

double ConstantLR::lr(CurvePoint point) const {
  return point.step < steps ? point.base_lr * factor : point.base_lr;
}
void ConstantLR::check(std::size_t /*groups*/) const {
  check_steps("ConstantLR", "steps", steps);
  check_number("ConstantLR", "factor", factor >= 0, factor, "0 or more");
}

double LinearLR::lr(CurvePoint point) const {
  return point.base_lr * (start_factor + (end_factor - start_factor) * part_of(point.step, steps));
}
void LinearLR::check(std::size_t /*groups*/) const {
  check_steps("LinearLR", "steps", steps);
  check_number("LinearLR", "start_factor", start_factor >= 0, start_factor, "0 or more");
  check_number("LinearLR", "end_factor", end_factor >= 0, end_factor, "0 or more");
}

double PolynomialLR::lr(CurvePoint point) const {
  return point.base_lr * std::pow(1 - part_of(point.step, steps), power);
}
void PolynomialLR::check(std::size_t /*groups*/) const {
  check_steps("PolynomialLR", "steps", steps);
  check_number("PolynomialLR", "power", power > 0, power, "more than 0");
}

double ExponentialLR::lr(CurvePoint point) const {
  return point.base_lr * std::pow(gamma, static_cast<double>(point.step));
}
void ExponentialLR::check(std::size_t /*groups*/) const {
  check_number("ExponentialLR", "gamma", gamma > 0, gamma, "more than 0");
}

double StepLR::lr(CurvePoint point) const {
  return point.base_lr * std::pow(gamma, static_cast<double>(point.step / step_size));
}
void StepLR::check(std::size_t /*groups*/) const {
  check_steps("StepLR", "step_size", step_size);
  check_number("StepLR", "gamma", gamma > 0, gamma, "more than 0");
}

double MultiStepLR::lr(CurvePoint point) const {
  const auto passed = std::upper_bound(milestones.begin(), milestones.end(), point.step);
  return point.base_lr * std::pow(gamma, static_cast<double>(passed - milestones.begin()));
}
void MultiStepLR::check(std::size_t /*groups*/) const {
  check_increasing("MultiStepLR", milestones);
  check_number("MultiStepLR", "gamma", gamma > 0, gamma, "more than 0");
}

double CosineAnnealingLR::lr(CurvePoint point) const {
  return half_wave(point.base_lr, min_lr,
                   static_cast<double>(point.step) / static_cast<double>(steps));
}
void CosineAnnealingLR::check(std::size_t /*groups*/) const {
  check_steps("CosineAnnealingLR", "steps", steps);
  check_number("CosineAnnealingLR", "min_lr", min_lr >= 0, min_lr, "0 or more");
}

double CosineAnnealingWarmRestarts::lr(CurvePoint point) const {
  std::int64_t length = period;
  std::int64_t since = point.step;
  if (factor == 1) {
    since %= period;
  }
  while (since >= length) {
    since -= length;
    length *= factor;
  }
  return half_wave(point.base_lr, min_lr, static_cast<double>(since) / static_cast<double>(length));
}
void CosineAnnealingWarmRestarts::check(std::size_t /*groups*/) const {
  check_steps("CosineAnnealingWarmRestarts", "period", period);
  check_steps("CosineAnnealingWarmRestarts", "factor", factor);
  check_number("CosineAnnealingWarmRestarts", "min_lr", min_lr >= 0, min_lr, "0 or more");
}

// ---- one cycle ----------------------------------------------------------------------------------

namespace {

// Where a step of OneCycleLR lies: between corner `index` and the next one.
struct CycleSpot {
  std::size_t index;
  double position;  // 0 to 1
};

CycleSpot spot_of(const OneCycleLR& cycle, std::int64_t step) {
  FABRIC_CHECK(Misconfiguration, step <= cycle.steps, "[fabric.schedule] OneCycleLR is at its ",
               "end; got step ", step, " of ", cycle.steps, ". Hint: give it as many steps as the ",
               "run has: batches of an epoch times epochs, divided by accumulated batches.");
  const auto total = static_cast<double>(cycle.steps);
  const double rise = cycle.pct_start * total - 1;
  const std::vector<double> ends =
      cycle.three_phase ? std::vector{rise, 2 * cycle.pct_start * total - 2, total - 1}
                        : std::vector{rise, total - 1};
  const auto now = static_cast<double>(step);
  double begin = 0;
  std::size_t index = 0;
  for (; index + 1 < ends.size() && now > ends[index]; ++index) {
    begin = ends[index];
  }
  const double length = ends[index] - begin;
  // A loop calls step() once more after the last step: that stays at the end.
  return {index, length <= 0 ? 1 : std::min(1.0, (now - begin) / length)};
}

double between(const OneCycleLR& cycle, double from, double to, double position) {
  return cycle.anneal == Anneal::cosine ? half_wave(from, to, position)
                                        : (to - from) * position + from;
}

}  // namespace

double OneCycleLR::lr(CurvePoint point) const {
  const CycleSpot spot = spot_of(*this, point.step);
  const double top = max_lr.empty()       ? point.base_lr
                     : max_lr.size() == 1 ? max_lr.front()
                                          : max_lr[std::min(point.group, max_lr.size() - 1)];
  const double bottom = top / div_factor;
  const std::vector<double> corners =
      three_phase ? std::vector{bottom, top, bottom, bottom / final_div_factor}
                  : std::vector{bottom, top, bottom / final_div_factor};
  return between(*this, corners[spot.index], corners[spot.index + 1], spot.position);
}

std::optional<double> OneCycleLR::momentum(CurvePoint point) const {
  if (!cycle_momentum) {
    return {};
  }
  const CycleSpot spot = spot_of(*this, point.step);
  const std::vector<double> corners =
      three_phase ? std::vector{max_momentum, base_momentum, max_momentum, max_momentum}
                  : std::vector{max_momentum, base_momentum, max_momentum};
  return between(*this, corners[spot.index], corners[spot.index + 1], spot.position);
}

void OneCycleLR::check(std::size_t groups) const {
  check_steps("OneCycleLR", "steps", steps);
  check_number("OneCycleLR", "pct_start", pct_start >= 0 && pct_start <= 1, pct_start, "0 to 1");
  check_number("OneCycleLR", "pct_start", !three_phase || pct_start <= 0.5, pct_start,
               "0 to 0.5 with three phases: up, down again, and the end");
  check_number("OneCycleLR", "div_factor", div_factor > 0, div_factor, "more than 0");
  check_number("OneCycleLR", "final_div_factor", final_div_factor > 0, final_div_factor,
               "more than 0");
  FABRIC_CHECK(
      Misconfiguration, max_lr.size() <= 1 || max_lr.size() == groups,
      "[fabric.schedule] OneCycleLR has another number of largest rates than the optimizer ",
      "has groups; got ", max_lr.size(), " and ", groups, "; expected one, one a group, ",
      "or none, where each group's own rate is the largest");
  for (const double rate : max_lr) {
    check_number("OneCycleLR", "max_lr", rate >= 0, rate, "0 or more");
  }
}

// ---- functions and compositions -----------------------------------------------------------------

double LambdaLR::lr(CurvePoint point) const {
  const auto& function = factor ? factor : factors[std::min(point.group, factors.size() - 1)];
  return point.base_lr * function(point.step);
}
void LambdaLR::check(std::size_t groups) const {
  FABRIC_CHECK(Misconfiguration, (factor != nullptr) != !factors.empty(),
               "[fabric.schedule] LambdaLR takes either factor or factors; got ",
               factor ? "both" : "neither");
  FABRIC_CHECK(Misconfiguration,
               factor || (factors.size() == groups &&
                          std::all_of(factors.begin(), factors.end(),
                                      [](const auto& each) { return each != nullptr; })),
               "[fabric.schedule] LambdaLR needs a function for each group; got ", factors.size(),
               " (empty ones do not count) and ", groups, " groups");
}

namespace {

// The curve that is on at a step, and the step it is at.
std::pair<const Curve&, CurvePoint> current(const SequentialLR& sequence, CurvePoint point) {
  const auto passed =
      std::upper_bound(sequence.milestones.begin(), sequence.milestones.end(), point.step);
  const auto index = static_cast<std::size_t>(passed - sequence.milestones.begin());
  if (index > 0) {
    point.step -= sequence.milestones[index - 1];
  }
  return {sequence.curves[index], point};
}

}  // namespace

double SequentialLR::lr(CurvePoint point) const {
  const auto [curve, at] = current(*this, point);
  return curve.lr(at);
}
std::optional<double> SequentialLR::momentum(CurvePoint point) const {
  const auto [curve, at] = current(*this, point);
  return curve.momentum(at);
}
void SequentialLR::check(std::size_t groups) const {
  FABRIC_CHECK(
      Misconfiguration, !curves.empty() && milestones.size() + 1 == curves.size(),
      "[fabric.schedule] SequentialLR changes from each curve to the next at a milestone; ", "got ",
      curves.size(), " curves and ", milestones.size(),
      " milestones; expected at least one curve, and a milestone less than curves");
  check_increasing("SequentialLR", milestones);
  for (const Curve& curve : curves) {
    curve.check(groups);
  }
}

double ChainedScheduler::lr(CurvePoint point) const {
  for (const Curve& curve : curves) {
    point.base_lr = curve.lr(point);
  }
  return point.base_lr;
}
std::optional<double> ChainedScheduler::momentum(CurvePoint point) const {
  std::optional<double> last;
  for (const Curve& curve : curves) {
    if (const auto momentum = curve.momentum(point)) {
      last = momentum;
    }
  }
  return last;
}
void ChainedScheduler::check(std::size_t groups) const {
  FABRIC_CHECK(Misconfiguration, !curves.empty(), "[fabric.schedule] ChainedScheduler has no ",
               "curves; expected at least one");
  for (const Curve& curve : curves) {
    curve.check(groups);
  }
}

}  // namespace fabric
