// The guard that forbids waiting for the device: which accelerator it asks, and for how long.
#include <doctest/doctest.h>

#include <cstdlib>
#include <stdexcept>

#include <torch/torch.h>

#include <accelerators/registry.h>
#include <fabric/fabric.h>

#include <tests/support/other_cpu.h>

namespace {

int forbidden = 0;  // guards of Watched that live

// The CPU under another name, which counts the guards.
class Watched : public support::OtherCpu {
 public:
  Watched() : OtherCpu("watched") {}
  std::shared_ptr<void> forbid_synchronisation() const override {
    ++forbidden;
    return {nullptr, [](void*) { --forbidden; }};
  }
};

}  // namespace

TEST_SUITE("fabric.forbid_synchronisation") {
  TEST_CASE("on the CPU nothing waits, and nothing is forbidden") {
    fabric::Fabric fabric({.accelerator = "cpu"});
    const auto guard = fabric.forbid_synchronisation();
    CHECK(torch::ones({2}).sum().item<float>() == 2);
    CHECK(torch::ones({3}).nonzero().size(0) == 3);
  }

  TEST_CASE("the accelerator is asked for as long as the guard lives, exceptions included") {
    fabric::register_accelerator(std::make_unique<Watched>());
    setenv("FABRIC_ACCELERATOR", "watched", 1);
    fabric::Fabric fabric;
    fabric.launch();
    setenv("FABRIC_ACCELERATOR", "cpu", 1);
    CHECK(fabric.accelerator() == "watched");
    {
      const auto outer = fabric.forbid_synchronisation();
      CHECK(forbidden == 1);
      try {
        const auto inner = fabric.forbid_synchronisation();
        CHECK(forbidden == 2);
        throw std::runtime_error("the step failed");
      } catch (const std::runtime_error&) {
        CHECK(forbidden == 1);
      }
    }
    CHECK(forbidden == 0);
  }
}
