// State of optimizers, cut and joined like the tensors it belongs to.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <torch/optim/optimizer.h>

namespace fabric {

/// Whether an optimizer updates each element from its own gradient and state alone, so that it may
/// work on any part of a parameter: LibTorch's SGD, Adam, AdamW, RMSprop, Adagrad, and those that
/// declare it (elementwise_optimizer.h).
bool is_elementwise(const torch::optim::Optimizer& optimizer);

/// Bytes of the state that an optimizer keeps; of the classes it knows.
std::int64_t state_bytes(const torch::optim::Optimizer& optimizer);

/// State of a tensor that covers elements [begin, end) of a flat storage.
struct PlacedState {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  const torch::optim::OptimizerParamState* state = nullptr;
};

/// The state of elements [begin, end), put together from what overlaps; zeros where nothing does.
/// Numbers that belong to a tensor as a whole (steps) are those of the first that overlaps.
/// @returns null where nothing overlaps
/// @throws MisconfigurationError for state of an unknown class
std::unique_ptr<torch::optim::OptimizerParamState> cut_state(const std::vector<PlacedState>& states,
                                                             std::int64_t begin, std::int64_t end);

}  // namespace fabric
