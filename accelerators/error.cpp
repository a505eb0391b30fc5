#include <accelerators/error.h>

#include <accelerators/collectives/world.h>

namespace fabric {
namespace {

std::string with_place(const std::string& text) {
  const World& here = world();
  if (here.size == 1) {
    return text;
  }
  return detail::str(text, " (rank ", here.rank, " of ", here.size, " on host ", here.host, ")");
}

}  // namespace

Error::Error(const std::string& text) : std::runtime_error(with_place(text)) {}

}  // namespace fabric
