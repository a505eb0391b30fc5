#include <fabric/config/error.h>

namespace fabric::config {
namespace {

std::string all_lines(const std::vector<Problem>& problems) {
  if (problems.size() == 1) {
    return "[fabric.config] " + problems.front().line();
  }
  std::string text =
      "[fabric.config] the configuration has " + std::to_string(problems.size()) + " errors";
  for (const Problem& problem : problems) {
    text += "\n  " + problem.line();
  }
  return text;
}

}  // namespace

std::string Problem::line() const {
  std::string start = place.given() ? place.text() + ": " : "";
  // An argument names its option already.
  const bool named = place.given() && place.source()->kind == Source::argument &&
                     place.source()->name == "--" + option;
  return start + (option.empty() || named ? "" : option + ": ") + text;
}

ConfigError::ConfigError(std::vector<Problem> problems)
    : MisconfigurationError(all_lines(problems)), problems_(std::move(problems)) {}

}  // namespace fabric::config
