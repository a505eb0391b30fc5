// CUDA graphs behind DeviceGraph. Only in builds with CUDA.
#pragma once

#include <memory>

#include <c10/core/Device.h>

#include <accelerators/device_graph.h>

namespace fabric::cuda {

/// An empty recording on `device`, with a stream of its own.
std::unique_ptr<DeviceGraph> make_graph(c10::Device device);

}  // namespace fabric::cuda
