// Accelerators by name, and what the CPU and the present build of CUDA say of themselves.
#include <doctest/doctest.h>

#include <algorithm>

#include <accelerators/cuda/cuda.h>
#include <accelerators/error.h>
#include <accelerators/registry.h>

namespace {

using fabric::DeviceError;
using fabric::MisconfigurationError;

class Toy : public fabric::Accelerator {
 public:
  explicit Toy(std::string name, bool available = true)
      : name_(std::move(name)), available_(available) {}
  std::string name() const override { return name_; }
  c10::DeviceType device_type() const override { return c10::DeviceType::PrivateUse1; }
  bool is_available() const override { return available_; }
  std::string unavailable_reason() const override { return available_ ? "" : "it is unplugged."; }
  int device_count() const override { return available_ ? 2 : 0; }
  int auto_device_count() const override { return device_count(); }
  std::vector<c10::Device> devices(const std::vector<int>&) const override { return {}; }
  void set_device(c10::Device) const override {}
  void synchronize(c10::Device) const override {}
  fabric::MemoryStats memory_stats(c10::Device) const override { return {}; }

 private:
  std::string name_;
  bool available_;
};

/// Names stay registered until the process ends, so each test case takes new ones.
void add(const std::string& name, bool available = true) {
  fabric::register_accelerator(std::make_unique<Toy>(name, available));
}

}  // namespace

TEST_SUITE("accelerators.registry") {
  TEST_CASE("names and their aliases") {
    CHECK(fabric::get_accelerator("cpu").name() == "cpu");
    CHECK(fabric::get_accelerator(" CPU ").name() == "cpu");
    CHECK(fabric::find_accelerator("gpu").name() == "cuda");
    CHECK(fabric::get_accelerator("auto").name() ==
          (fabric::cuda::device_count() > 0 ? "cuda" : "cpu"));
    const std::vector<std::string> names = fabric::accelerator_names();
    REQUIRE(names.size() >= 2);
    CHECK(names[0] == "cpu");
    CHECK(names[1] == "cuda");
  }

  TEST_CASE("an unknown name lists the known ones") {
    CHECK_THROWS_WITH_AS(
        fabric::get_accelerator("tpu"),
        doctest::Contains("unknown accelerator; got 'tpu'; expected auto, gpu, cpu"),
        MisconfigurationError);
  }

  TEST_CASE("a registered accelerator is found; its name is taken then") {
    add("toy");
    CHECK(fabric::get_accelerator("Toy").device_count() == 2);
    const std::vector<std::string> usable = fabric::usable_accelerator_names();
    CHECK(std::count(usable.begin(), usable.end(), "toy") == 1);
    for (const char* name : {"toy", "cpu", "cuda", "gpu", "auto"}) {
      CHECK_THROWS_WITH_AS(add(name), doctest::Contains("the name is taken"),
                           MisconfigurationError);
    }
    CHECK_THROWS_WITH_AS(add("Upper"), doctest::Contains("lower case"), MisconfigurationError);
    CHECK_THROWS_AS(fabric::register_accelerator(nullptr), MisconfigurationError);
  }

  TEST_CASE("one that cannot be used says why and what can") {
    add("absent", false);
    CHECK_THROWS_WITH_AS(fabric::get_accelerator("absent"), doctest::Contains("it is unplugged."),
                         DeviceError);
    CHECK_THROWS_WITH_AS(fabric::get_accelerator("absent"),
                         doctest::Contains("got 'absent'; expected cpu"), DeviceError);
    CHECK(fabric::find_accelerator("absent").device_count() == 0);
    if (!fabric::cuda::compiled()) {
      CHECK_THROWS_WITH_AS(fabric::get_accelerator("gpu"),
                           doctest::Contains("this build has no CUDA: configure with "
                                             "-DFABRIC_WITH_CUDA=ON and run tools/setup --cuda"),
                           DeviceError);
    }
  }

  TEST_CASE("the CPU is one device with the memory of this process") {
    fabric::Accelerator& cpu = fabric::get_accelerator("cpu");
    const c10::Device device(c10::DeviceType::CPU);
    CHECK(cpu.device_count() == 1);
    CHECK(cpu.auto_device_count() == 1);
    CHECK(cpu.devices({0, 1}) == std::vector<c10::Device>{device, device});
    cpu.set_device(device);
    cpu.synchronize(device);
    const fabric::MemoryStats stats = cpu.memory_stats(device);
    CHECK(stats.allocated > 1 << 20);
    CHECK(stats.peak >= stats.allocated / 2);  // the two are counted at different moments
  }

  TEST_CASE("CUDA where there is a device" * doctest::skip(fabric::cuda::device_count() == 0)) {
    fabric::Accelerator& cuda = fabric::get_accelerator("gpu");
    const c10::Device device = cuda.devices({0}).at(0);
    CHECK(device.is_cuda());
    cuda.set_device(device);
    CHECK(fabric::cuda::is_usable(0));
    cuda.synchronize(device);
    CHECK(cuda.memory_stats(device).reserved > 0);
    CHECK_THROWS_AS(cuda.devices({cuda.device_count()}), DeviceError);
    CHECK_THROWS_AS(cuda.set_device(c10::Device(c10::DeviceType::CPU)), DeviceError);
  }
}
