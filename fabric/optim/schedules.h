// Schedule: moves the learning rates of an optimizer along a curve.
//
//     auto optimizer = fabric.setup_optimizers(torch::optim::AdamW(model->parameters(), 1e-3));
//     fabric::Schedule schedule(optimizer, fabric::CosineAnnealingLR{.steps = 1000, .min_lr =
//     1e-5}); for (auto& batch : *loader) {
//       …
//       optimizer.step();
//       schedule.step();
//     }
//
// It does not derive from torch::optim::LRScheduler: that sets nothing before its first step, keeps
// its count to itself, so it can be neither saved nor resumed, and its step() is not virtual.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <fabric/optim/curves.h>
#include <fabric/optimizer.h>

namespace torch::serialize {
class InputArchive;
class OutputArchive;
}  // namespace torch::serialize

namespace fabric {

class StateDict;
namespace detail {
struct SaveScope;
class LoadScope;
}  // namespace detail

/// All that a schedule has to remember. The curve is part of the program.
struct ScheduleState {
  std::int64_t step = 0;
  std::vector<double> base_lrs{};  ///< one a group
};

/// A schedule of one optimizer; a small copyable handle, copies of which share their step. Made, it
/// sets the rates of step 0. The base rates are those that the groups have then; a group added
/// later joins at the next step with the rate it has by then.
///
/// Rates are a function of the step, never of the rate before: so others must not change them in
/// between (a second schedule, the program). That is an error at the next step; `scale` is the way
/// to change them by hand, ChainedScheduler the way to have two. Nothing is sent: every rank makes
/// the same steps.
class Schedule {
 public:
  /// Empty; using it throws NotLaunchedError.
  Schedule() = default;
  /// @throws NotLaunchedError for an empty optimizer handle
  /// @throws MisconfigurationError for numbers that make no curve, for a curve that moves the
  ///         momentum of an optimizer without one
  Schedule(FabricOptimizer optimizer, Curve curve);
  /// @param optimizer must outlive the schedule
  Schedule(torch::optim::Optimizer& optimizer, Curve curve);

  /// Goes on by one step: after `optimizer.step()`.
  /// @throws MisconfigurationError past the end of a curve that has one (OneCycleLR), and where
  ///         somebody else has changed a rate since
  void step();
  /// Goes to any step, as if it had been made all the way.
  void go_to(std::int64_t step);
  /// How many steps were made.
  std::int64_t steps() const;

  /// The rates that it has set, one a group.
  std::vector<double> last_lr() const;
  /// What it sets at a step, one a group: to plot a curve before a run.
  std::vector<double> lr_at(std::int64_t step) const;
  /// Multiplies the rates, those of all steps to come: for what only a run shows (a plateau).
  void scale(double factor);

  ScheduleState state() const;
  /// Goes to a saved state; the order in which this and the optimizer are loaded does not matter.
  /// @throws CheckpointError where the groups differ in number
  void set_state(const ScheduleState& state);
  /// As parts of a fabric::State, under Python's names (last_epoch, base_lrs).
  StateDict save_state(detail::SaveScope& scope) const;
  void load_state(const StateDict& from, detail::LoadScope& scope);
  /// The same through archives; `torch::save(schedule, path)` and `torch::load` use these.
  void save(torch::serialize::OutputArchive& archive) const;
  void load(torch::serialize::InputArchive& archive);

  explicit operator bool() const { return shared_ != nullptr; }

 private:
  struct Shared;
  Shared& shared() const;
  void apply() const;

  std::shared_ptr<Shared> shared_;
};

torch::serialize::OutputArchive& operator<<(torch::serialize::OutputArchive& archive,
                                            const Schedule& schedule);
torch::serialize::InputArchive& operator>>(torch::serialize::InputArchive& archive,
                                           Schedule& schedule);

/// The everyday schedule: up in a line, then down until the last step, and flat behind it.
struct WarmupOptions {
  std::int64_t warmup_steps = 0;
  std::int64_t steps = 0;   ///< of the whole run, warm-up included
  double start_factor = 0;  ///< of the base rate, at step 0
  double end_factor = 0;    ///< of the base rate, at step `steps`
};

/// Warm-up, then half a wave of the cosine; with the default factors what Transformers'
/// get_cosine_schedule_with_warmup gives.
///
///     auto schedule = fabric::warmup_cosine(optimizer, {.warmup_steps = 100, .steps = 1000});
Schedule warmup_cosine(FabricOptimizer optimizer, const WarmupOptions& options);
Schedule warmup_cosine(torch::optim::Optimizer& optimizer, const WarmupOptions& options);
/// Warm-up, then a straight line.
Schedule warmup_linear(FabricOptimizer optimizer, const WarmupOptions& options);
Schedule warmup_linear(torch::optim::Optimizer& optimizer, const WarmupOptions& options);
/// Warm-up, then the base rate; `steps` and `end_factor` say nothing.
Schedule warmup_constant(FabricOptimizer optimizer, const WarmupOptions& options);
Schedule warmup_constant(torch::optim::Optimizer& optimizer, const WarmupOptions& options);

}  // namespace fabric
