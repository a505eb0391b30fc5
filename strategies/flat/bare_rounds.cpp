#include <strategies/flat/bare_rounds.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <vector>

#include <strategies/flat/gradient_hook.h>

namespace fabric {
namespace {

struct OpenRounds {
  std::mutex mutex;
  std::map<int, std::vector<std::weak_ptr<GradientRound>>> of_backward;
};

OpenRounds& open_rounds() {
  static OpenRounds& rounds = *new OpenRounds;  // graphs may end after static objects
  return rounds;
}

std::vector<std::shared_ptr<GradientRound>> take(int backward) {
  OpenRounds& rounds = open_rounds();
  std::vector<std::shared_ptr<GradientRound>> taken;
  const std::lock_guard lock(rounds.mutex);
  for (const std::weak_ptr<GradientRound>& weak : rounds.of_backward[backward]) {
    if (auto round = weak.lock(); round && round->round_open()) {
      taken.push_back(std::move(round));
    }
  }
  rounds.of_backward.erase(backward);
  std::sort(taken.begin(), taken.end(),
            [](const auto& a, const auto& b) { return a->number() < b->number(); });
  return taken;
}

void finish(int backward) {
  for (const auto& round : take(backward)) {
    round->finish_round();
  }
}

void abandon(int backward) {
  for (const auto& round : take(backward)) {
    round->abandon_round();
  }
}

}  // namespace

GradientRound::GradientRound() {
  static std::atomic<std::int64_t> made{0};
  number_ = made++;
}

void BareRounds::add(const std::shared_ptr<GradientRound>& round) {
  const int backward = current_backward();
  bool first = false;
  {
    OpenRounds& rounds = open_rounds();
    const std::lock_guard lock(rounds.mutex);
    std::vector<std::weak_ptr<GradientRound>>& open = rounds.of_backward[backward];
    first = open.empty();
    open.push_back(round);
  }
  if (first) {
    at_end_of_backward([backward] { finish(backward); }, [backward] { abandon(backward); });
  }
}

}  // namespace fabric
