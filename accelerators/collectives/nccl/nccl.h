// LibTorch's ProcessGroupNCCL over the joined world. A build without CUDA has a twin (no_nccl.cpp).
#pragma once

#include <string>
#include <vector>

#include <c10/core/Device.h>
#include <c10/util/intrusive_ptr.h>

namespace c10d {
class Backend;
}

namespace fabric::nccl {

/// Whether this build has NCCL.
bool compiled();

/// Makes an NCCL backend on `device`; ranks find each other through a TCP store whose address
/// travels over MPI. Collective.
/// @param ranks of the world that communicate, ascending, this one included
/// @throws DeviceError when the build has no CUDA
c10::intrusive_ptr<c10d::Backend> make_backend(const std::string& name, c10::Device device,
                                               const std::vector<int>& ranks);

}  // namespace fabric::nccl
