// Grad mode and model mode of one routed call, as its entry's options ask.
#pragma once

#include <functional>
#include <optional>

#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>

#include <fabric/entry_options.h>

namespace fabric::detail {

struct ModelCore;

/// Switches what differs from the caller's state and puts it back.
class EntryScope {
 public:
  EntryScope(const ModelCore& core, const EntryOptions& options);
  ~EntryScope();
  EntryScope(const EntryScope&) = delete;
  EntryScope& operator=(const EntryScope&) = delete;

 private:
  std::optional<c10::AutoGradMode> grad_off_;
  std::optional<c10::InferenceMode> inference_;
  std::function<void()> restore_mode_;
};

}  // namespace fabric::detail
