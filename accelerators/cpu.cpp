#include <accelerators/cpu.h>

#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

namespace fabric::cpu {
namespace {

class Cpu : public Accelerator {
 public:
  std::string name() const override { return "cpu"; }
  c10::DeviceType device_type() const override { return c10::DeviceType::CPU; }
  bool is_available() const override { return true; }
  std::string unavailable_reason() const override { return {}; }
  int device_count() const override { return 1; }
  int auto_device_count() const override { return 1; }

  std::vector<c10::Device> devices(const std::vector<int>& ids) const override {
    return std::vector<c10::Device>(ids.size(), c10::Device(c10::DeviceType::CPU));
  }

  void set_device(c10::Device) const override {}
  void synchronize(c10::Device) const override {}

  MemoryStats memory_stats(c10::Device) const override {
    // Linux: the second number of statm is the resident set in pages, ru_maxrss is in KiB.
    std::int64_t total_pages = 0;
    std::int64_t resident_pages = 0;
    std::ifstream("/proc/self/statm") >> total_pages >> resident_pages;
    const std::int64_t resident = resident_pages * sysconf(_SC_PAGESIZE);
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return {resident, resident, static_cast<std::int64_t>(usage.ru_maxrss) * 1024};
  }
};

}  // namespace

std::unique_ptr<Accelerator> make_accelerator() {
  return std::make_unique<Cpu>();
}

}  // namespace fabric::cpu
