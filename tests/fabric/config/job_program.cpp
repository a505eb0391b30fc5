// A program whose Fabric gets parsed options: under mpirun, and started plainly for several
// processes. Prints what each rank has, or the error.
#include <cstdlib>
#include <iostream>

#include <fabric/config.h>
#include <fabric/fabric.h>

struct Config {
  int width = 1;
  std::string name = "run";
  fabric::FabricOptions fabric{};
};

int main(int argc, char** argv) {
  const auto config = fabric::config::parse<Config>(argc, argv, {.environment = "JOB_"});
  fabric::Fabric fabric(config->fabric);
  try {
    fabric.launch(argc, argv);
  } catch (const fabric::Error& error) {
    if (fabric.global_rank() == 0) {
      std::cout << error.what() << "\n";
    }
    return 3;
  }
  const auto sum = fabric.sum(config->width);
  if (fabric.is_global_zero()) {
    std::cout << fabric.world_size() << " ranks, widths " << sum << ", name " << config->name
              << " from " << config.origin("name").text()
              << (std::getenv("FABRIC_HANDED_CONFIG_0") != nullptr ? ", handed on" : "") << "\n";
  }
}
