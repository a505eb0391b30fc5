// Whether all ranks hold the same model.
#pragma once

#include <string>

#include <c10/core/Device.h>

#include <accelerators/collectives/communicator.h>
#include <strategies/strategy.h>

namespace fabric {

/// Compares names, shapes, dtypes and trainability over ranks. Collective.
/// @throws CommunicationError on all ranks, naming the first tensor in which they differ
void check_same_model(const std::string& label, const ModelTensors& tensors,
                      const Communicator& communicator, c10::Device device);

}  // namespace fabric
