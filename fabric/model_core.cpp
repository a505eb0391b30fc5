#include <fabric/detail/model_core.h>

#include <accelerators/logging.h>
#include <fabric/detail/padded_iterations.h>

namespace fabric::detail {
namespace {

// The innermost routed call of this thread.
thread_local RoutedCall* innermost = nullptr;

void warn_of_padding(const ModelCore& core) {
  static std::atomic<bool> said{false};
  if (!core.training() && !said.exchange(true)) {
    log_warning(str("[fabric.data_loader] ", core.label, " is evaluated on a loader that repeats ",
                    "examples so that all ranks have equally many; sums over ranks count those ",
                    "twice. Hint: make the loader with {.tail = fabric::Tail::exact}."));
  }
}

}  // namespace

RoutedCall::RoutedCall(ModelCore& core)
    : core_(core), outer_(innermost), precision_(*core.precision) {
  if (core.managed->wants_calls()) {
    core.managed->before_call(core.training());
  }
  if (padded_iterations > 0) {
    warn_of_padding(core);
  }
  innermost = this;
}

RoutedCall::~RoutedCall() {
  innermost = outer_;
}

bool RoutedCall::inside(const ModelCore& core) {
  for (const RoutedCall* call = innermost; call != nullptr; call = call->outer_) {
    if (&call->core_ == &core) {
      return true;
    }
  }
  return false;
}

}  // namespace fabric::detail
