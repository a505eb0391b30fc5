// The part of Cli that runs: launches, sows the seed, calls the command.
#include <exception>
#include <iostream>
#include <string>

#include <fabric/cli.h>
#include <fabric/config/parser.h>
#include <fabric/config/run/ending.h>
#include <fabric/fabric.h>

namespace fabric {

int Cli::run(int argc, const char* const* argv) const {
  detail::CommandRun chosen;
  try {
    std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
    chosen = read(config::detail::inputs_of_process(std::move(arguments)));
  } catch (const config::ScreenRequest& request) {
    config::detail::end_with_screen(request.screen());
  } catch (const config::ConfigError& error) {
    config::detail::end_with_errors(options_.program, error);
  }
  config::detail::show_notes(options_.program, chosen.notes);
  try {
    Fabric fabric(chosen.fabric());
    fabric.launch(argc, argv);
    if (const std::optional<std::uint64_t> seed = chosen.seed()) {
      fabric.seed_everything(*seed);
    }
    const int code = chosen.command->call(fabric, chosen.command->config_of(chosen.value.get()));
    return fabric.all_reduce(code, "max");
  } catch (const std::exception& error) {
    // Not left to std::terminate, which need not unwind: Fabric's end tells the other ranks.
    const int rank = config::detail::rank_of_process();
    std::cerr << (rank == 0 ? "" : "(rank " + std::to_string(rank) + ") ") + options_.program +
                     " " + chosen.command->name + ": " + error.what() + "\n"
              << std::flush;
    return 1;
  }
}

}  // namespace fabric
