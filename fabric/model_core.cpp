#include <fabric/detail/model_core.h>

namespace fabric::detail {
namespace {

// The innermost routed call of this thread.
thread_local RoutedCall* innermost = nullptr;

}  // namespace

RoutedCall::RoutedCall(ModelCore& core) : core_(core), outer_(innermost), precision_(*core.precision) {
  if (core.managed->wants_calls()) {
    core.managed->before_call(core.training());
  }
  innermost = this;
}

RoutedCall::~RoutedCall() { innermost = outer_; }

bool RoutedCall::inside(const ModelCore& core) {
  for (const RoutedCall* call = innermost; call != nullptr; call = call->outer_) {
    if (&call->core_ == &core) {
      return true;
    }
  }
  return false;
}

}  // namespace fabric::detail
