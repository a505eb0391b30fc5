#include <accelerators/logging.h>

#include <cstdlib>
#include <iostream>
#include <string_view>

#include <accelerators/collectives/world.h>

namespace fabric::detail {
namespace {

void write(const std::string& line) {
  if (world().rank == 0) {
    std::cerr << line + "\n" << std::flush;  // one write: lines of threads do not mix
  }
}

}  // namespace

bool quiet() {
  const char* level = std::getenv("FABRIC_LOG");
  return level != nullptr && std::string_view(level) == "quiet";
}

void log_info(const std::string& text) {
  if (!quiet()) {
    write("[fabric] " + text);
  }
}

void log_warning(const std::string& text) {
  write("[fabric] warning: " + text);
}

}  // namespace fabric::detail
