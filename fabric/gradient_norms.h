// The norm of each parameter's gradient, whole or cut over ranks.
#pragma once

#include <vector>

#include <strategies/strategy.h>

namespace fabric::detail {

struct ModelCore;

/// See Fabric::gradient_norms.
/// @throws MisconfigurationError for a norm that is none
std::vector<NamedTensor> gradient_norms(Strategy& strategy, ModelCore& core,
                                        const ModelTensors& tensors, double norm_type);

}  // namespace fabric::detail
