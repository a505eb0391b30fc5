// What a program takes at any number of processes: memory on a rank, bytes on the wire, time.
//
// The program itself is run, unchanged, as rank 0 of a world whose other ranks do not exist
// (tools/simulate); or for real, and measured in the same way. The environment asks for it:
//
//     FABRIC_SIMULATE="world=4096, per_node=8, steps=3, latency_us=5, bandwidth_gb=25" ./program
//
// After `steps` steps of an optimizer the program ends with a line of results on standard output.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace torch::optim {
class Optimizer;
}

namespace fabric {

/// What FABRIC_SIMULATE says.
struct SimulationOptions {
  int world = 0;             ///< processes; 0: those that are there, nothing is faked
  int per_node = 8;          ///< processes on a node
  int steps = 3;             ///< of optimizers, after which the program ends (≥ 2)
  double latency_us = 5;     ///< of a message, microseconds
  double bandwidth_gb = 25;  ///< of each process's link, 1e9 bytes a second

  /// @throws MisconfigurationError for unknown names and numbers that cannot be
  static SimulationOptions from_text(std::string_view text);
};

namespace detail {

struct ModelCore;

/// A simulation under way; at most one in a process.
class Simulation {
 public:
  /// Begins what the environment asks for, if it asks; a world of other ranks is then joined.
  static void begin_if_asked();
  /// The one under way, or null.
  static Simulation* current();

  /// Models of which the memory is counted.
  void watch(const std::shared_ptr<ModelCore>& model);
  /// An optimizer has made a step. Ends the process after the last.
  void after_step(const torch::optim::Optimizer& optimizer);

  ~Simulation();

 private:
  explicit Simulation(SimulationOptions options);
  std::string report() const;

  struct Content;
  std::unique_ptr<Content> content_;
};

}  // namespace detail
}  // namespace fabric
