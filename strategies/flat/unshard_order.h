// In which order the units of a model are used, and what follows from it.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

namespace fabric {

/// Records the order in which each phase (an entry's forward, a backward) uses units, and predicts
/// from the last time what comes next. A phase that takes another way than the last time is
/// recorded anew; until then nothing is predicted.
class UnshardOrder {
 public:
  using Phase = std::uint64_t;

  /// A phase begins; the one before it ends, and is followed by this one.
  void begin(Phase phase);

  /// A unit is used, after another one was.
  void use(std::size_t unit);

  /// The units that will be used next, soonest first; those of the phase that followed last time
  /// included. `visit(unit)` returns false to stop.
  template <class Visit>
  void upcoming(Visit&& visit) const {
    if (!following_) {
      return;
    }
    for (std::size_t i = cursor_; i < recorded_->units.size(); ++i) {
      if (!visit(recorded_->units[i])) {
        return;
      }
    }
    const auto next = recorded_->has_next ? phases_.find(recorded_->next) : phases_.end();
    if (next != phases_.end()) {
      for (const std::size_t unit : next->second.units) {
        if (!visit(unit)) {
          return;
        }
      }
    }
  }

  Phase phase() const { return phase_; }
  /// How often a phase left its recorded order.
  std::int64_t changes() const { return changes_; }

 private:
  struct Recorded {
    std::vector<std::size_t> units;
    Phase next = 0;
    bool has_next = false;
  };

  Phase phase_ = 0;
  std::unordered_map<Phase, Recorded> phases_;
  std::vector<std::size_t> now_;        // this phase
  const Recorded* recorded_ = nullptr;  // the same phase, last time
  std::size_t cursor_ = 0;              // in recorded_: what comes next
  bool following_ = false;              // this phase has gone as recorded_ so far
  std::int64_t changes_ = 0;
};

}  // namespace fabric
