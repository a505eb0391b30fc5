#include <strategies/explicit_backward.h>

#include <atomic>

namespace fabric {
namespace {

std::atomic<int> alive{0};

}  // namespace

ExplicitBackward::ExplicitBackward() {
  ++alive;
}
ExplicitBackward::~ExplicitBackward() {
  --alive;
}
bool ExplicitBackward::any() {
  return alive > 0;
}

}  // namespace fabric
