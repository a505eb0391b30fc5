// Options of an optimizer's group that say their fields by name.
#pragma once

#include <fabric/checkpoint/state_value.h>

namespace fabric {

/// A base of `torch::optim::OptimizerOptions` that states are saved and loaded by.
class NamedOptions {
 public:
  virtual ~NamedOptions() = default;

  /// All fields, under Python's names.
  virtual StateDict state_dict() const = 0;
  /// Takes the fields that are there; others keep their values.
  /// @throws CheckpointError for values of another type
  virtual void load_state_dict(const StateDict& from) = 0;
};

}  // namespace fabric
