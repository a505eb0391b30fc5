// A guard that holds the whole parameters of a sharded model.
#pragma once

#include <strategies/strategy.h>

namespace fabric {

/// Holds the whole parameters of a model while it lives (see Fabric::full_parameters).
class [[nodiscard(
    "parameters are whole only while the guard lives: auto guard = …")]] FullParameters {
 public:
  explicit FullParameters(ManagedModel& model) : model_(model) { model_.hold_full(); }
  ~FullParameters() { model_.release_full(); }
  FullParameters(const FullParameters&) = delete;
  FullParameters& operator=(const FullParameters&) = delete;

 private:
  ManagedModel& model_;
};

}  // namespace fabric
