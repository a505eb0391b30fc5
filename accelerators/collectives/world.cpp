#include <accelerators/collectives/world.h>

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

namespace detail {
void set_world(World joined) {
  current() = std::move(joined);
}
}  // namespace detail
}  // namespace fabric
