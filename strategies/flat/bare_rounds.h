// The rounds of gradient synchronisation that a plain `loss.backward()` opened.
#pragma once

#include <cstdint>
#include <memory>

namespace fabric {

/// What one model does to its gradients in one backward.
class GradientRound {
 public:
  virtual ~GradientRound() = default;

  /// Models are numbered in the order of their setup, which is the same on all ranks.
  std::int64_t number() const { return number_; }
  virtual bool round_open() const = 0;
  /// Closes the round; every rank must call it with a round open.
  virtual void finish_round() = 0;
  /// Forgets an open round after an exception.
  virtual void abandon_round() noexcept = 0;

 protected:
  GradientRound();

 private:
  std::int64_t number_;
};

/// Closes rounds together at the end of the backward that opened them, in the order in which the
/// models were set up: ranks whose graphs reach the models in different orders would otherwise wait
/// for each other.
class BareRounds {
 public:
  /// Called inside a backward, once for each model whose round it opens. When the backward throws,
  /// the rounds are abandoned instead.
  static void add(const std::shared_ptr<GradientRound>& round);
};

}  // namespace fabric
