#include <strategies/flat/bare_rounds.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <vector>

#include <strategies/flat/gradient_hook.h>
#include <strategies/flat/gradient_sync.h>

namespace fabric {
namespace {

struct OpenRounds {
  std::mutex mutex;
  std::map<int, std::vector<std::weak_ptr<GradientSync>>> of_backward;
};

OpenRounds& open_rounds() {
  static OpenRounds& rounds = *new OpenRounds;  // graphs may end after static objects
  return rounds;
}

std::vector<std::shared_ptr<GradientSync>> take(int backward) {
  OpenRounds& rounds = open_rounds();
  std::vector<std::shared_ptr<GradientSync>> taken;
  const std::lock_guard lock(rounds.mutex);
  for (const std::weak_ptr<GradientSync>& weak : rounds.of_backward[backward]) {
    if (auto sync = weak.lock(); sync && sync->round_open()) {
      taken.push_back(std::move(sync));
    }
  }
  rounds.of_backward.erase(backward);
  std::sort(taken.begin(), taken.end(),
            [](const auto& a, const auto& b) { return a->number() < b->number(); });
  return taken;
}

void finish(int backward) {
  for (const auto& sync : take(backward)) {
    sync->finish_round();
  }
}

void abandon(int backward) {
  for (const auto& sync : take(backward)) {
    sync->abandon_round();
  }
}

}  // namespace

void BareRounds::add(const std::shared_ptr<GradientSync>& sync) {
  const int backward = current_backward();
  bool first = false;
  {
    OpenRounds& rounds = open_rounds();
    const std::lock_guard lock(rounds.mutex);
    std::vector<std::weak_ptr<GradientSync>>& open = rounds.of_backward[backward];
    first = open.empty();
    open.push_back(sync);
  }
  if (first) {
    at_end_of_backward([backward] { finish(backward); }, [backward] { abandon(backward); });
  }
}

}  // namespace fabric
