#include <fabric/optim/curves.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <numbers>
#include <tuple>

#include <accelerators/error.h>

namespace fabric {
namespace {

// The first text that says something.
std::string first_of(std::initializer_list<std::string> texts) {
  for (const std::string& text : texts) {
    if (!text.empty()) {
      return text;
    }
  }
  return {};
}

std::string wrong_steps(const char* curve, const char* field, std::int64_t steps) {
  return steps > 0 ? ""
                   : detail::str(curve, " needs a length; got ", field, "=", steps,
                                 "; expected at least 1. Hint: count optimizer steps, or epochs, ",
                                 "whichever you call schedule.step() after.");
}

std::string wrong_number(const char* curve, const char* field, bool good, double value,
                         const char* expected) {
  return good && std::isfinite(value)
             ? ""
             : detail::str(curve, " cannot work; got ", field, "=", value, "; expected ", expected);
}

std::string wrong_milestones(const char* curve, const std::vector<std::int64_t>& milestones) {
  for (std::size_t i = 0; i < milestones.size(); ++i) {
    const std::int64_t before = i == 0 ? 0 : milestones[i - 1];
    if (milestones[i] <= before) {
      return detail::str("the milestones of ", curve, " do not increase; got ", milestones[i],
                         " after ", before,
                         "; expected steps greater than 0, each greater than the one before");
    }
  }
  return {};
}

std::string wrong_curve(const std::vector<Curve>& curves, std::size_t groups) {
  for (const Curve& curve : curves) {
    if (std::string wrong = curve.invalid(groups); !wrong.empty()) {
      return wrong;
    }
  }
  return {};
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
std::string ConstantLR::invalid(std::size_t /*groups*/) const {
  return first_of({wrong_steps("ConstantLR", "steps", steps),
                   wrong_number("ConstantLR", "factor", factor >= 0, factor, "0 or more")});
}

double LinearLR::lr(CurvePoint point) const {
  return point.base_lr * (start_factor + (end_factor - start_factor) * part_of(point.step, steps));
}
std::string LinearLR::invalid(std::size_t /*groups*/) const {
  return first_of(
      {wrong_steps("LinearLR", "steps", steps),
       wrong_number("LinearLR", "start_factor", start_factor >= 0, start_factor, "0 or more"),
       wrong_number("LinearLR", "end_factor", end_factor >= 0, end_factor, "0 or more")});
}

double PolynomialLR::lr(CurvePoint point) const {
  return point.base_lr * std::pow(1 - part_of(point.step, steps), power);
}
std::string PolynomialLR::invalid(std::size_t /*groups*/) const {
  return first_of({wrong_steps("PolynomialLR", "steps", steps),
                   wrong_number("PolynomialLR", "power", power > 0, power, "more than 0")});
}

double ExponentialLR::lr(CurvePoint point) const {
  return point.base_lr * std::pow(gamma, static_cast<double>(point.step));
}
std::string ExponentialLR::invalid(std::size_t /*groups*/) const {
  return first_of({wrong_number("ExponentialLR", "gamma", gamma > 0, gamma, "more than 0")});
}

double StepLR::lr(CurvePoint point) const {
  return point.base_lr * std::pow(gamma, static_cast<double>(point.step / step_size));
}
std::string StepLR::invalid(std::size_t /*groups*/) const {
  return first_of({wrong_steps("StepLR", "step_size", step_size),
                   wrong_number("StepLR", "gamma", gamma > 0, gamma, "more than 0")});
}

double MultiStepLR::lr(CurvePoint point) const {
  const auto passed = std::upper_bound(milestones.begin(), milestones.end(), point.step);
  return point.base_lr * std::pow(gamma, static_cast<double>(passed - milestones.begin()));
}
std::string MultiStepLR::invalid(std::size_t /*groups*/) const {
  return first_of({wrong_milestones("MultiStepLR", milestones),
                   wrong_number("MultiStepLR", "gamma", gamma > 0, gamma, "more than 0")});
}

double CosineAnnealingLR::lr(CurvePoint point) const {
  return half_wave(point.base_lr, min_lr,
                   static_cast<double>(point.step) / static_cast<double>(steps));
}
std::string CosineAnnealingLR::invalid(std::size_t /*groups*/) const {
  return first_of({wrong_steps("CosineAnnealingLR", "steps", steps),
                   wrong_number("CosineAnnealingLR", "min_lr", min_lr >= 0, min_lr, "0 or more")});
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
std::string CosineAnnealingWarmRestarts::invalid(std::size_t /*groups*/) const {
  return first_of(
      {wrong_steps("CosineAnnealingWarmRestarts", "period", period),
       wrong_steps("CosineAnnealingWarmRestarts", "factor", factor),
       wrong_number("CosineAnnealingWarmRestarts", "min_lr", min_lr >= 0, min_lr, "0 or more")});
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

std::string OneCycleLR::invalid(std::size_t groups) const {
  std::string wrong =
      first_of({wrong_steps("OneCycleLR", "steps", steps),
                wrong_number("OneCycleLR", "pct_start", pct_start >= 0 && pct_start <= 1, pct_start,
                             "0 to 1"),
                wrong_number("OneCycleLR", "pct_start", !three_phase || pct_start <= 0.5, pct_start,
                             "0 to 0.5 with three phases: up, down again, and the end"),
                wrong_number("OneCycleLR", "div_factor", div_factor > 0, div_factor, "more than 0"),
                wrong_number("OneCycleLR", "final_div_factor", final_div_factor > 0,
                             final_div_factor, "more than 0")});
  if (!wrong.empty()) {
    return wrong;
  }
  if (groups > 0 && max_lr.size() > 1 && max_lr.size() != groups) {
    return detail::str("OneCycleLR has another number of largest rates than the optimizer ",
                       "has groups; got ", max_lr.size(), " and ", groups,
                       "; expected one, one a group, ",
                       "or none, where each group's own rate is the largest");
  }
  for (const double rate : max_lr) {
    if (wrong = wrong_number("OneCycleLR", "max_lr", rate >= 0, rate, "0 or more");
        !wrong.empty()) {
      return wrong;
    }
  }
  return {};
}

// ---- functions and compositions -----------------------------------------------------------------

double LambdaLR::lr(CurvePoint point) const {
  const auto& function = factor ? factor : factors[std::min(point.group, factors.size() - 1)];
  return point.base_lr * function(point.step);
}
std::string LambdaLR::invalid(std::size_t groups) const {
  if ((factor != nullptr) == !factors.empty()) {
    return detail::str("LambdaLR takes either factor or factors; got ",
                       factor ? "both" : "neither");
  }
  const bool all_there =
      std::all_of(factors.begin(), factors.end(), [](const auto& each) { return each != nullptr; });
  if (!factor && (!all_there || (groups > 0 && factors.size() != groups))) {
    return detail::str("LambdaLR needs a function for each group; got ", factors.size(),
                       " (empty ones do not count) and ", groups, " groups");
  }
  return {};
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
std::string SequentialLR::invalid(std::size_t groups) const {
  if (curves.empty() || milestones.size() + 1 != curves.size()) {
    return detail::str(
        "SequentialLR changes from each curve to the next at a milestone; got ", curves.size(),
        " curves and ", milestones.size(),
        " milestones; expected at least one curve, and a milestone less than curves");
  }
  return first_of({wrong_milestones("SequentialLR", milestones), wrong_curve(curves, groups)});
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
std::string ChainedScheduler::invalid(std::size_t groups) const {
  return curves.empty() ? "ChainedScheduler has no curves; expected at least one"
                        : wrong_curve(curves, groups);
}

}  // namespace fabric
