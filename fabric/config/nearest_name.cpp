#include <fabric/config/nearest_name.h>

#include <algorithm>

namespace fabric::config::detail {
namespace {

// Steps from one text to the other (optimal string alignment); stops caring above `most`.
std::size_t distance(std::string_view a, std::string_view b, std::size_t most) {
  if (std::max(a.size(), b.size()) - std::min(a.size(), b.size()) > most) {
    return most + 1;
  }
  std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) {
    last[j] = j;
  }
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] =
          std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

std::string_view last_part(std::string_view name) {
  return name.substr(name.rfind('.') + 1);
}

}  // namespace

std::string nearest_name(std::string_view text, const std::vector<std::string>& names) {
  constexpr std::size_t kLongest = 80;
  if (text.empty() || text.size() > kLongest) {
    return {};
  }
  std::string best;
  std::size_t best_distance =
      std::max<std::size_t>(1, std::min<std::size_t>(text.size() / 3, 3)) + 1;
  for (const std::string& name : names) {
    std::size_t here = distance(text, name, best_distance);
    if (last_part(name) == last_part(text)) {
      here = std::min<std::size_t>(here, 1);  // the right option in another section
    }
    if (here < best_distance) {
      best_distance = here;
      best = name;
    }
  }
  return best;
}

std::string did_you_mean(const std::string& name) {
  return name.empty() ? "" : ". Did you mean " + name + "?";
}

}  // namespace fabric::config::detail
