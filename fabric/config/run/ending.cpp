#include <fabric/config/run/ending.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <thread>

#include <accelerators/collectives/world.h>
#include <fabric/environment.h>

namespace fabric::config::detail {
namespace {

constexpr std::chrono::seconds kPatience{4};

}  // namespace

int rank_of_process() {
  if (world().size > 1) {
    return world().rank;
  }
  const Environment environment = Environment::read();
  return environment.launcher ? environment.launcher->rank : 0;
}

std::string error_screen(const std::string& program, const ConfigError& error) {
  const std::size_t count = error.problems().size();
  std::string text = program + ": " +
                     (count == 1 ? std::string("an error") : std::to_string(count) + " errors") +
                     " in the configuration\n";
  for (const Problem& problem : error.problems()) {
    text += "  " + problem.line() + "\n";
  }
  return text + "--help shows all options.\n";
}

void end_with_screen(const std::string& screen) {
  if (rank_of_process() == 0) {
    std::cout << screen << std::flush;
  }
  std::exit(0);
}

void end_with_errors(const std::string& program, const ConfigError& error) {
  std::string text = error_screen(program, error);
  if (const int rank = rank_of_process(); rank != 0) {
    std::this_thread::sleep_for(kPatience);
    text = "(rank " + std::to_string(rank) + ") " + text;
  }
  std::cerr << text << std::flush;
  std::exit(2);
}

void show_notes(const std::string& program, const std::vector<std::string>& notes) {
  if (rank_of_process() == 0) {
    for (const std::string& note : notes) {
      std::cerr << program << ": note: " << note << "\n";
    }
  }
}

}  // namespace fabric::config::detail
