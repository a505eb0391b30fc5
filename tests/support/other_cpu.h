// The CPU under another name: a base of accelerators that tests register.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <accelerators/accelerator.h>

namespace support {

class OtherCpu : public fabric::Accelerator {
 public:
  explicit OtherCpu(std::string name) : name_(std::move(name)) {}
  std::string name() const override { return name_; }
  c10::DeviceType device_type() const override { return c10::DeviceType::CPU; }
  bool is_available() const override { return true; }
  std::string unavailable_reason() const override { return {}; }
  int device_count() const override { return 1; }
  int auto_device_count() const override { return 1; }
  std::vector<c10::Device> devices(const std::vector<int>& ids) const override {
    return std::vector<c10::Device>(ids.size(), c10::Device(c10::kCPU));
  }
  void set_device(c10::Device) const override {}
  void synchronize(c10::Device) const override {}
  fabric::MemoryStats memory_stats(c10::Device) const override { return {}; }

 private:
  std::string name_;
};

}  // namespace support
