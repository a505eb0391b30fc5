#include <fabric/config/place.h>

namespace fabric::config {

std::string Place::text() const {
  if (!source_) {
    return "default";
  }
  switch (source_->kind) {
    case Source::file:
      return source_->name + ":" + std::to_string(line_) + ":" + std::to_string(column_);
    case Source::checkpoint:
      return "checkpoint " + source_->name;
    case Source::environment:
      return source_->name;
    case Source::link:
      return "link " + source_->name;
    case Source::argument:
      break;
  }
  return source_->name + " (argument " + std::to_string(line_) + ")";
}

}  // namespace fabric::config
