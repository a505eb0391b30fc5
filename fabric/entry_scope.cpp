#include <fabric/detail/entry_scope.h>

#include <fabric/detail/model_core.h>

namespace fabric::detail {

EntryScope::EntryScope(const ModelCore& core, const EntryOptions& options) {
  if (options.grad.is("off")) {
    grad_off_.emplace(false);
  } else if (options.grad.is("inference_mode")) {
    inference_.emplace(true);
  }
  if (!options.mode.is("keep")) {
    restore_mode_ = core.switch_mode(options.mode.is("train"));
  }
}

EntryScope::~EntryScope() {
  if (restore_mode_) {
    restore_mode_();
  }
}

}  // namespace fabric::detail
