// Rates over a window, by a clock of the test's own.
#include <doctest/doctest.h>

#include <torch/torch.h>

#include <fabric/fabric.h>
#include <fabric/throughput.h>

namespace {

/// A clock that stands until it is moved.
struct Clock {
  std::function<double()> read() {
    return [this] { return now; };
  }
  double now = 1000;
};

}  // namespace

TEST_SUITE("throughput") {
  TEST_CASE("rates are those of the window, and the first update only starts the clock") {
    Clock clock;
    fabric::Throughput throughput({.window = 4,
                                   .flops_per_step = 100,
                                   .flops_per_sample = 10,
                                   .peak_flops = 1000,
                                   .processes = 3,
                                   .clock = clock.read()});
    CHECK(throughput.compute().steps == 0);
    throughput.update({.samples = 1'000'000});
    CHECK(throughput.compute().device.samples_per_second == 0);
    CHECK_FALSE(throughput.compute().mfu);
    for (int step = 0; step < 10; ++step) {
      clock.now += step < 6 ? 7 : 0.5;  // the window forgets the slow ones
      throughput.update({.samples = 8, .tokens = 64, .flops = 20});
    }
    const fabric::ThroughputReport report = throughput.compute();
    CHECK(report.steps == 4);
    CHECK(report.seconds == doctest::Approx(2));
    CHECK(report.device.steps_per_second == doctest::Approx(2));
    CHECK(report.device.samples_per_second == doctest::Approx(16));
    CHECK(report.device.tokens_per_second == doctest::Approx(128));
    CHECK(report.device.flops_per_second == doctest::Approx(400));
    CHECK(report.global.steps_per_second == doctest::Approx(2));
    CHECK(report.global.samples_per_second == doctest::Approx(48));
    CHECK(report.global.flops_per_second == doctest::Approx(1200));
    CHECK(*report.mfu == doctest::Approx(0.4));
    throughput.reset();
    CHECK(throughput.compute().steps == 0);
  }

  TEST_CASE("time that is left out counts nowhere, also within a window") {
    Clock clock;
    fabric::Throughput throughput({.clock = clock.read()});
    throughput.update({.samples = 1});
    for (int step = 0; step < 4; ++step) {
      clock.now += 1;
      throughput.update({.samples = 10});
      if (step == 1) {
        clock.now += 500;  // an evaluation
        throughput.leave_out();
        clock.now += 100;  // and another
        throughput.leave_out();
      }
    }
    CHECK(throughput.compute().seconds == doctest::Approx(4));
    CHECK(throughput.compute().device.samples_per_second == doctest::Approx(10));
  }

  TEST_CASE("peaks by the device's name and dtype") {
    const auto peak = [](const char* name, at::ScalarType dtype) {
      return fabric::peak_flops(name, dtype).value_or(0);
    };
    CHECK(peak("NVIDIA H100 80GB HBM3", at::kBFloat16) == doctest::Approx(989.4e12));
    CHECK(peak("NVIDIA H100 PCIe", at::kHalf) == doctest::Approx(756e12));
    CHECK(peak("NVIDIA H200", at::kBFloat16) == doctest::Approx(989.4e12));
    CHECK(peak("NVIDIA A100-SXM4-80GB", at::kBFloat16) == doctest::Approx(312e12));
    CHECK(peak("Tesla V100-SXM2-16GB", at::kHalf) == doctest::Approx(125e12));
    CHECK(peak("Tesla V100-SXM2-16GB", at::kBFloat16) == 0);
    CHECK(peak("NVIDIA L4", at::kBFloat16) == doctest::Approx(121e12));
    CHECK(peak("NVIDIA GeForce RTX 4090", at::kHalf) == doctest::Approx(165.2e12));
    CHECK(peak("NVIDIA A100-SXM4-40GB", at::kInt) == 0);
    for (const char* other : {"NVIDIA L40S", "NVIDIA GH200 480GB", "NVIDIA H200 NVL",
                              "NVIDIA GeForce RTX 4090 Laptop GPU", "", "Some CPU"}) {
      CHECK(peak(other, at::kHalf) == 0);
    }
    const bool before = at::globalContext().allowTF32CuBLAS();
    at::globalContext().setAllowTF32CuBLAS(false);
    CHECK(peak("NVIDIA A100-SXM4-40GB", at::kFloat) == doctest::Approx(19.5e12));
    at::globalContext().setAllowTF32CuBLAS(true);
    CHECK(peak("NVIDIA A100-SXM4-40GB", at::kFloat) == doctest::Approx(156e12));
    at::globalContext().setAllowTF32CuBLAS(before);
  }

  TEST_CASE("a Fabric fills in its device, and a CPU's peak is measured") {
    Clock clock;
    fabric::Fabric fabric;
    auto throughput = fabric.throughput({.flops_per_step = 1e9, .clock = clock.read()});
    throughput.update({});
    clock.now += 1;
    throughput.update({});
    const auto report = throughput.compute();
    REQUIRE(report.mfu);
    CHECK(*report.mfu > 1e-4);  // 1 GFLOP/s of a core's tens
    CHECK(*report.mfu < 1);
    CHECK(report.device.flops_per_second == doctest::Approx(1e9));
  }

  TEST_CASE("numbers that cannot be are refused") {
    CHECK_THROWS_AS(fabric::Throughput({.window = 0}), fabric::MisconfigurationError);
    CHECK_THROWS_AS(fabric::Throughput({.flops_per_step = -1}), fabric::MisconfigurationError);
    CHECK_THROWS_AS(fabric::Throughput({.peak_flops = 0.0}), fabric::MisconfigurationError);
    fabric::Throughput throughput;
    CHECK_THROWS_AS(throughput.update({.samples = -1}), fabric::MisconfigurationError);
  }
}
