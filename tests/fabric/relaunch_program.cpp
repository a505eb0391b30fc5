// Started plainly, it starts itself again under mpirun; there it says who it is.
// Arguments: how to relaunch (main, system or quiet), the number of processes, anything.
#include <cstdlib>
#include <iostream>

#include <accelerators/error.h>
#include <fabric/launch.h>

int main(int argc, char** argv) {
  const fabric::Environment environment = fabric::Environment::read();
  if (fabric::started_by_launcher(environment)) {
    const fabric::Launcher& launcher = *environment.launcher;
    std::cout << fabric::detail::str("rank ", launcher.rank, " of ", *launcher.size, "\n");
    return 0;
  }
  const std::string way = argc > 1 ? argv[1] : "main";
  fabric::Plan plan;
  plan.world_size = argc > 2 ? std::atoi(argv[2]) : 2;
  std::cout << "buffered before\n";  // must not be lost
  try {
    if (way == "system") {
      fabric::relaunch(plan);
    }
    fabric::relaunch(plan, argc, argv, way == "quiet");
  } catch (const fabric::Error& error) {
    std::cout << error.what() << "\n";
    return 3;
  }
}
