// One operator of a deferred build: run on the meta device, and written down.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include <ATen/core/Generator.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include <strategies/deferred/tape.h>

namespace fabric {

/// Runs one operator and adds it to a tape, where it makes or writes deferred tensors.
class Recording {
 public:
  /// @param scope the tape of a scope that is open, or null
  /// @throws MisconfigurationError where the arguments are of two tapes
  Recording(const c10::OperatorHandle& op, torch::jit::Stack& stack, std::shared_ptr<Tape> scope);

  /// Whether the operator is one of a build at all.
  bool wanted() const { return tape_ != nullptr || scope_ != nullptr; }

  /// @throws MisconfigurationError where it needs values that are not there yet
  void run();

 private:
  void look_at(const at::Tensor& tensor);
  void prepare_arguments();
  at::Tensor placed_alike(const at::Tensor& tensor) const;
  void call();
  bool run_otherwise();
  bool run_in_place();
  bool run_factory();
  bool run_on_zeros();
  void note_results();
  bool was_argument(const at::Tensor& result) const;

  const c10::OperatorHandle& op_;
  torch::jit::Stack& stack_;
  std::size_t count_;                   // of arguments
  std::size_t depth_;                   // where they begin on the stack
  std::vector<c10::IValue> arguments_;  // as they were given
  std::shared_ptr<Tape> scope_;
  std::shared_ptr<Tape> tape_;  // of the arguments, null where none is deferred
  bool takes_tensors_ = false;
  bool watched_ = false;               // outside scopes too
  std::optional<std::size_t> placed_;  // which argument puts the result on meta
  std::vector<TapeArgument> noted_;
  std::vector<std::size_t> written_;
  c10::IValue written_argument_;
  at::Generator generator_;
};

}  // namespace fabric
