#include <accelerators/collectives/world.h>

#include <numeric>
#include <utility>

namespace fabric {
namespace {

World& current() {
  static World value;
  return value;
}

}  // namespace

const World& world() {
  return current();
}

std::vector<int> all_ranks() {
  std::vector<int> ranks(current().size);
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

namespace detail {
void set_world(World joined) {
  current() = std::move(joined);
}
}  // namespace detail
}  // namespace fabric
