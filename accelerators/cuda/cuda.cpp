// CUDA devices through LibTorch's runtime layer.
#include <accelerators/cuda/cuda.h>
#include <accelerators/cuda/graph.h>

#include <ATen/cuda/CUDAContextLight.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>

#include <accelerators/error.h>

namespace fabric::cuda {
namespace {

// What LibTorch does where an operator waits for its stream, for the whole process.
class SynchronisationIsAnError {
 public:
  SynchronisationIsAnError() : before_(c10::cuda::warning_state().get_sync_debug_mode()) {
    c10::cuda::warning_state().set_sync_debug_mode(c10::cuda::SyncDebugMode::L_ERROR);
  }
  ~SynchronisationIsAnError() { c10::cuda::warning_state().set_sync_debug_mode(before_); }
  SynchronisationIsAnError(const SynchronisationIsAnError&) = delete;
  SynchronisationIsAnError& operator=(const SynchronisationIsAnError&) = delete;

 private:
  c10::cuda::SyncDebugMode before_;
};

class Cuda : public Accelerator {
 public:
  std::string name() const override { return "cuda"; }
  c10::DeviceType device_type() const override { return c10::DeviceType::CUDA; }
  bool is_available() const override { return cuda::device_count() > 0; }
  std::string unavailable_reason() const override { return cuda::unavailable_reason(); }
  int device_count() const override { return cuda::device_count(); }
  int auto_device_count() const override { return cuda::device_count(); }

  std::vector<c10::Device> devices(const std::vector<int>& ids) const override {
    std::vector<c10::Device> found;
    for (const int id : ids) {
      FABRIC_CHECK(Device, id >= 0 && id < device_count(), "[fabric.accelerator] CUDA device ", id,
                   " is absent; expected an id below ", device_count());
      found.emplace_back(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(id));
    }
    return found;
  }

  std::string device_name(c10::Device device) const override {
    return at::cuda::getDeviceProperties(checked(device).index())->name;
  }

  void set_device(c10::Device device) const override {
    c10::cuda::set_device(checked(device).index());
  }

  void synchronize(c10::Device device) const override {
    const c10::cuda::CUDAGuard guard(checked(device));
    c10::cuda::device_synchronize();
  }

  MemoryStats memory_stats(c10::Device device) const override {
    // The allocator has no figures before its first use; this makes no context.
    c10::cuda::CUDACachingAllocator::init(static_cast<int>(c10::cuda::device_count()));
    const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(checked(device).index());
    constexpr auto kAll = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    return {stats.allocated_bytes[kAll].current, stats.reserved_bytes[kAll].current,
            stats.allocated_bytes[kAll].peak};
  }

  std::shared_ptr<void> forbid_synchronisation() const override {
    return std::make_shared<SynchronisationIsAnError>();
  }

  std::unique_ptr<DeviceGraph> make_graph(c10::Device device) const override {
    return cuda::make_graph(checked(device));
  }

 private:
  static c10::Device checked(c10::Device device) {
    FABRIC_CHECK(Device, device.is_cuda() && device.has_index(),
                 "[fabric.accelerator] not one CUDA device; got ", device.str(),
                 "; expected a device with an index, such as cuda:0");
    return device;
  }
};

}  // namespace

bool compiled() {
  return true;
}

int device_count() {
  return c10::cuda::device_count();
}

std::string unavailable_reason() {
  return device_count() > 0
             ? std::string()
             : "no CUDA device is visible. Hint: nvidia-smi lists the devices of this machine; "
               "CUDA_VISIBLE_DEVICES hides them.";
}

bool is_usable(int id) {
  try {
    at::empty({1},
              at::TensorOptions().device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(id)));
    return true;
  } catch (const c10::Error&) {
    return false;
  }
}

std::unique_ptr<Accelerator> make_accelerator() {
  return std::make_unique<Cuda>();
}

}  // namespace fabric::cuda
