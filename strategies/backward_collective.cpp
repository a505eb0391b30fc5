#include <strategies/backward_collective.h>

#include <atomic>

namespace fabric {
namespace {

std::atomic<int> alive{0};

}  // namespace

CommunicatingGraph::CommunicatingGraph() {
  ++alive;
}

CommunicatingGraph::~CommunicatingGraph() {
  --alive;
}

bool CommunicatingGraph::any() {
  return alive > 0;
}

c10::IValue BackwardCollective::keep(const Communicator& communicator) {
  return c10::IValue::make_capsule(c10::make_intrusive<BackwardCollective>(communicator));
}

const Communicator& BackwardCollective::of(const c10::IValue& kept) {
  return c10::static_intrusive_pointer_cast<BackwardCollective>(kept.toCapsule())->communicator_;
}

}  // namespace fabric
