// How error texts name a value of a state.
#pragma once

#include <cstddef>
#include <ostream>
#include <vector>

#include <fabric/checkpoint/state_value.h>

namespace fabric::detail {

/// The way to a value, as texts show it: state['optimizer']['state'][3]. Refers to the keys.
struct StatePath {
  struct Step {
    const StateValue* key = nullptr;
    std::size_t index = 0;
  };

  void push(const StateValue& key) { steps.push_back({&key, 0}); }
  void push(std::size_t index) { steps.push_back({nullptr, index}); }
  void pop() { steps.pop_back(); }

  friend std::ostream& operator<<(std::ostream& out, const StatePath& path) {
    out << "state";
    for (const Step& step : path.steps) {
      if (step.key == nullptr) {
        out << '[' << step.index << ']';
      } else if (step.key->is_string()) {
        out << "['" << step.key->string() << "']";
      } else {
        out << '[' << step.key->description() << ']';
      }
    }
    return out;
  }

  std::vector<Step> steps;
};

/// A value as texts show it, made only when it is printed.
struct Described {
  const StateValue& value;
  friend std::ostream& operator<<(std::ostream& out, const Described& described) {
    return out << described.value.description();
  }
};

}  // namespace fabric::detail
