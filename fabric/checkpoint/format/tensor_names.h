// Names of a state's tensors, for files that hold named tensors and no structure.
#pragma once

#include <string>
#include <vector>

#include <fabric/checkpoint/state_value.h>

namespace fabric::detail {

struct NamedStored {
  std::string name;
  StoredTensor tensor;
};

/// All tensors of a state in its order. A name is the keys on the way joined by dots: those of
/// {"model": {"fc.weight": …}, "moments": [a, b]} are `model.fc.weight`, `moments.0`, `moments.1`;
/// those of a model's own dictionary are its keys; a state that is one tensor is `tensor`.
/// @throws CheckpointError for two tensors of one name, for names that are not UTF-8
std::vector<NamedStored> name_tensors(const StateValue& state);

}  // namespace fabric::detail
