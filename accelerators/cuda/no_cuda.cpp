// The twin of cuda.cpp in a build without CUDA: it sees no device and says how to get one.
#include <accelerators/cuda/cuda.h>

#include <accelerators/error.h>

namespace fabric::cuda {
namespace {

[[noreturn]] void fail() {
  FABRIC_CHECK(Device, false, "[fabric.accelerator] cuda cannot be used: ", unavailable_reason());
  __builtin_unreachable();
}

class NoCuda : public Accelerator {
 public:
  std::string name() const override { return "cuda"; }
  c10::DeviceType device_type() const override { return c10::DeviceType::CUDA; }
  bool is_available() const override { return false; }
  std::string unavailable_reason() const override { return cuda::unavailable_reason(); }
  int device_count() const override { return 0; }
  int auto_device_count() const override { return 0; }
  std::vector<c10::Device> devices(const std::vector<int>&) const override { fail(); }
  void set_device(c10::Device) const override { fail(); }
  void synchronize(c10::Device) const override { fail(); }
  MemoryStats memory_stats(c10::Device) const override { fail(); }
};

}  // namespace

bool compiled() {
  return false;
}

int device_count() {
  return 0;
}

std::string unavailable_reason() {
  return "this build has no CUDA: configure with -DFABRIC_WITH_CUDA=ON and run tools/setup --cuda";
}

bool is_usable(int) {
  return false;
}

std::unique_ptr<Accelerator> make_accelerator() {
  return std::make_unique<NoCuda>();
}

}  // namespace fabric::cuda
