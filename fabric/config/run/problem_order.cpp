#include <fabric/config/run/problem_order.h>

#include <algorithm>
#include <utility>

namespace fabric::config::detail {

std::vector<Problem> in_order(std::vector<Problem> problems) {
  const auto rank = [](const Problem& problem) {
    if (!problem.place.given()) {
      return std::pair(static_cast<int>(Source::link) + 1, 0);
    }
    const bool argument = problem.place.source()->kind == Source::argument;
    return std::pair(static_cast<int>(problem.place.source()->kind),
                     argument ? problem.place.line() : 0);
  };
  std::stable_sort(problems.begin(), problems.end(),
                   [&](const Problem& a, const Problem& b) { return rank(a) < rank(b); });
  return problems;
}

}  // namespace fabric::config::detail
