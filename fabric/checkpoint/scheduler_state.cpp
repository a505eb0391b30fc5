// LibTorch's learning-rate schedulers as parts of a state. They have no way to say where they are,
// so this file reaches for their members: the first to look at when LibTorch changes.
#include <ATen/ATen.h>
#include <torch/optim/schedulers/lr_scheduler.h>
#include <torch/optim/schedulers/reduce_on_plateau_scheduler.h>

#include <accelerators/error.h>
#include <fabric/checkpoint/state.h>

namespace fabric::detail {
namespace {

using torch::optim::LRScheduler;
using torch::optim::ReduceLROnPlateauScheduler;

// A member's name may be given as the argument of an explicit instantiation whatever its access is
// ([temp.spec.general]); the friend brings it out.
template <class Tag, auto kMember>
struct Reach {
  friend auto member_of(Tag) { return kMember; }
};

#define FABRIC_REACH(Tag, member) \
  struct Tag {                    \
    friend auto member_of(Tag);   \
  };                              \
  template struct Reach<Tag, &member>

FABRIC_REACH(StepCount, LRScheduler::step_count_);
FABRIC_REACH(Best, ReduceLROnPlateauScheduler::best);
FABRIC_REACH(BadEpochs, ReduceLROnPlateauScheduler::num_bad_epochs);
FABRIC_REACH(CooldownCounter, ReduceLROnPlateauScheduler::cooldown_counter);
FABRIC_REACH(LastEpoch, ReduceLROnPlateauScheduler::last_epoch);

#undef FABRIC_REACH

}  // namespace

// Rates are the optimizer's, and saved with it.
std::shared_ptr<StateNode> scheduler_node(LRScheduler& scheduler) {
  return std::make_shared<ValueNode>(
      [&scheduler] {
        return StateValue(StateDict{{"last_epoch", scheduler.*member_of(StepCount{})}});
      },
      [&scheduler](StateValue state) -> std::function<void()> {
        const auto steps = state["last_epoch"].as<unsigned>();
        return [&scheduler, steps] { scheduler.*member_of(StepCount{}) = steps; };
      });
}

std::shared_ptr<StateNode> scheduler_node(ReduceLROnPlateauScheduler& scheduler) {
  return std::make_shared<ValueNode>(
      [&scheduler] {
        return StateValue(StateDict{{"best", scheduler.*member_of(Best{})},
                                    {"num_bad_epochs", scheduler.*member_of(BadEpochs{})},
                                    {"cooldown_counter", scheduler.*member_of(CooldownCounter{})},
                                    {"last_epoch", scheduler.*member_of(LastEpoch{})}});
      },
      [&scheduler](StateValue state) -> std::function<void()> {
        const auto best = state["best"].as<float>();
        const auto bad = state["num_bad_epochs"].as<int>();
        const auto cooldown = state["cooldown_counter"].as<int>();
        const auto last = state["last_epoch"].as<int>();
        return [&scheduler, best, bad, cooldown, last] {
          scheduler.*member_of(Best{}) = best;
          scheduler.*member_of(BadEpochs{}) = bad;
          scheduler.*member_of(CooldownCounter{}) = cooldown;
          scheduler.*member_of(LastEpoch{}) = last;
        };
      });
}

}  // namespace fabric::detail
