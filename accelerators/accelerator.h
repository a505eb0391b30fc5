// What a kind of device is to the toolkit: how many there are, and how to use one.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <c10/core/Device.h>

#include <accelerators/device_graph.h>

namespace fabric {

/// Memory of one device, in bytes.
struct MemoryStats {
  std::int64_t allocated = 0;  ///< held by tensors; on the CPU the resident memory of this process
  std::int64_t reserved = 0;   ///< held by the caching allocator; on the CPU as `allocated`
  std::int64_t peak = 0;       ///< the most `allocated` has been since the process began
};

/// A kind of device. Implement it and hand it to register_accelerator() to add one.
/// No function communicates: any rank may call any of them alone.
class Accelerator {
 public:
  virtual ~Accelerator() = default;

  /// The name in options, in lower case: "cpu", "cuda".
  virtual std::string name() const = 0;
  virtual c10::DeviceType device_type() const = 0;

  /// Whether this process can use a device of this kind.
  virtual bool is_available() const = 0;
  /// Why not, and what to do about it; empty when available.
  virtual std::string unavailable_reason() const = 0;

  /// Devices of this kind that this process can see. The CPU is one device.
  virtual int device_count() const = 0;
  /// How many of them `devices = "auto"` takes: every GPU, but one CPU process.
  virtual int auto_device_count() const = 0;

  /// The devices with these ids. Throws DeviceError for an id that is absent. The CPU is one device
  /// whatever the id: its ids number processes.
  virtual std::vector<c10::Device> devices(const std::vector<int>& ids) const = 0;

  /// What the maker calls a device ("NVIDIA H100 80GB HBM3"); empty where nobody does.
  virtual std::string device_name(c10::Device /*device*/) const { return {}; }

  /// Makes `device` the current one of this thread; tensors made for the kind of device without an
  /// index go there.
  virtual void set_device(c10::Device device) const = 0;
  /// Waits until all work queued on `device` is done; returns at once on the CPU.
  virtual void synchronize(c10::Device device) const = 0;
  virtual MemoryStats memory_stats(c10::Device device) const = 0;

  /// While the result lives, operators that would make the host wait for a device of this kind
  /// throw instead, on every thread. Null where nothing watches for that, as on the CPU.
  virtual std::shared_ptr<void> forbid_synchronisation() const { return nullptr; }
  /// A recording on `device`; null where work cannot be recorded.
  virtual std::unique_ptr<DeviceGraph> make_graph(c10::Device /*device*/) const { return nullptr; }
};

}  // namespace fabric
