#include <strategies/flat/unshard_order.h>

#include <utility>

namespace fabric {
namespace {

// A phase as long as this does not repeat; it is not worth its memory.
constexpr std::size_t kLongest = 1 << 20;

}  // namespace

void UnshardOrder::begin(Phase phase) {
  Recorded& ended = phases_[phase_];
  if (!now_.empty()) {
    const bool same = following_ && cursor_ == ended.units.size();
    if (!same) {
      ended.units = std::move(now_);
    }
  }
  ended.next = phase;
  ended.has_next = true;
  now_.clear();
  phase_ = phase;
  recorded_ = &phases_[phase];  // unordered_map does not move its elements
  cursor_ = 0;
  following_ = !recorded_->units.empty();
}

void UnshardOrder::use(std::size_t unit) {
  if (now_.size() < kLongest) {
    now_.push_back(unit);
  }
  if (!following_) {
    return;
  }
  if (cursor_ < recorded_->units.size() && recorded_->units[cursor_] == unit) {
    ++cursor_;
  } else {
    following_ = false;
    ++changes_;
  }
}

}  // namespace fabric
