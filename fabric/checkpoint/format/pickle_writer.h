// Writes states as pickles that torch.load(weights_only=True) takes.
#pragma once

#include <string>
#include <vector>

#include <fabric/checkpoint/format/storage_plan.h>
#include <fabric/checkpoint/state_value.h>

namespace fabric::detail {

/// The tensors of a state, in the order in which `write_pickle` comes to them.
std::vector<StoredTensor> tensors_of(const StateValue& state);

/// The pickle of a state, protocol 2. Texts that come again (keys of an optimizer's state) are
/// written once.
/// @param plan of `tensors_of(state)`: storage i is called "i"
/// @throws CheckpointError, naming the place, for what Python's reader refuses: frozensets,
/// integers
///         of more than 255 bytes, texts that are no UTF-8, keys that are no text, number, bool,
///         None or tuple of those, keys that come twice, sets of what cannot be in one, dtypes
///         without tensors; and for values nested deeper than the reader goes
std::string write_pickle(const StateValue& state, const StoragePlan& plan);

}  // namespace fabric::detail
