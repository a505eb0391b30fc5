// What FABRIC_SIMULATE may say. Runs themselves: tools.simulate.
#include <doctest/doctest.h>

#include <accelerators/error.h>
#include <fabric/simulation.h>

TEST_SUITE("fabric.simulation") {
  TEST_CASE("options are read from text, with defaults") {
    const auto options = fabric::SimulationOptions::from_text(
        "world=4096, per_node=4 ,steps=5,latency_us=1.5, bandwidth_gb=50");
    CHECK(options.world == 4096);
    CHECK(options.per_node == 4);
    CHECK(options.steps == 5);
    CHECK(options.latency_us == doctest::Approx(1.5));
    CHECK(options.bandwidth_gb == doctest::Approx(50));
    CHECK(fabric::SimulationOptions::from_text("").world == 0);
    CHECK(fabric::SimulationOptions::from_text("world=2").per_node == 8);
  }

  TEST_CASE("what cannot be read or cannot be is an error") {
    const auto read = [](const char* text) { fabric::SimulationOptions::from_text(text); };
    CHECK_THROWS_WITH_AS(read("ranks=4"), doctest::Contains("unknown name; got 'ranks'"),
                         fabric::MisconfigurationError);
    CHECK_THROWS_WITH_AS(read("world=many"), doctest::Contains("not a number; got world='many'"),
                         fabric::MisconfigurationError);
    CHECK_THROWS_WITH_AS(read("world"), doctest::Contains("not a number; got world=''"),
                         fabric::MisconfigurationError);
    for (const char* text : {"world=-1", "world=9999999", "steps=1", "per_node=0", "bandwidth_gb=0",
                             "latency_us=-1"}) {
      CHECK_THROWS_WITH_AS(read(text), doctest::Contains("numbers that cannot be"),
                           fabric::MisconfigurationError);
    }
  }
}
