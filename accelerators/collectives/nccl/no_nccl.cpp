// What a build without CUDA has in place of nccl.cpp.
#include <accelerators/collectives/nccl/nccl.h>

#include <torch/csrc/distributed/c10d/Backend.hpp>

#include <accelerators/error.h>

namespace fabric::nccl {

bool compiled() {
  return false;
}

c10::intrusive_ptr<c10d::Backend> make_backend(const std::string& name, c10::Device device,
                                               const std::vector<int>&) {
  throw DeviceError(detail::str(
      "[fabric.communicator] this build has no NCCL, so CUDA tensors cannot be communicated; got "
      "device ",
      device, " for communicator '", name,
      "'; expected cpu. Hint: install the CUDA "
      "toolkit and LibTorch with CUDA (tools/setup --cuda) and build with -DFABRIC_WITH_CUDA=ON"));
}

}  // namespace fabric::nccl
