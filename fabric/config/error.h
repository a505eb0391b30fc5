// What is thrown for a configuration that cannot be: all that is wrong in it at once.
#pragma once

#include <string>
#include <vector>

#include <accelerators/error.h>
#include <fabric/config/place.h>

namespace fabric::config {

/// One thing that is wrong.
struct Problem {
  Place place{};         ///< what gave the value; not given() where something is missing
  std::string option{};  ///< "model.width"; empty where it is a whole source
  /// "what is wrong; got '3.5'; expected int. Hint: …"
  std::string text{};

  /// "train.yaml:3:7: model.width: what is wrong; …"
  std::string line() const;
};

/// Options that are unknown, missing or wrong. `what()` has a line for each, in the order of the
/// sources; `problems()` has them apart.
class ConfigError : public MisconfigurationError {
 public:
  explicit ConfigError(std::vector<Problem> problems);
  const std::vector<Problem>& problems() const { return problems_; }

 private:
  std::vector<Problem> problems_;
};

}  // namespace fabric::config
