// The rounds of gradient synchronisation that a plain `loss.backward()` opened.
#pragma once

#include <memory>

namespace fabric {

class GradientSync;

/// Closes rounds together at the end of the backward that opened them, in the order in which the
/// models were set up: ranks whose graphs reach the models in different orders would otherwise wait
/// for each other.
class BareRounds {
 public:
  /// Called inside a backward, once for each model whose round it opens. When the backward throws,
  /// the rounds are abandoned instead.
  static void add(const std::shared_ptr<GradientSync>& sync);
};

}  // namespace fabric
