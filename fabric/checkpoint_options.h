// What fabric::checkpoint may be told: options of a call, and the `checkpoint` option of setup,
// which chooses the modules that are really checkpointed.
#pragma once

#include <concepts>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <strategies/strategy.h>
#include <strategies/unit_choice.h>

namespace fabric {

/// How a checkpointed function is run again.
struct CheckpointOptions {
  /// The second run draws the random numbers of the first (dropout gives the same mask), from the
  /// default generators of the CPU and of the current CUDA device. What the program draws after is
  /// the same either way.
  bool preserve_rng = true;
  /// Compares the second run with the first: shapes and dtypes of results, which parameters were
  /// used and whether they were changed, how many random numbers were drawn. A difference (a model
  /// that was switched to `eval` in between) throws instead of giving other gradients.
  bool check = true;
};

/// Decides for the modules of a model what `fabric::checkpoint(module, …)` does with them. The
/// model says once where checkpointing may be, a program how much of it it needs.
///
/// | value | checkpointed |
/// |---|---|
/// | `"all"` (default) | every module that is given to fabric::checkpoint |
/// | `"none"` | none: each is called plainly |
/// | `{"Block", "encoder"}` | the modules of these classes or with these dotted names |
/// | `checkpoint_where(predicate)` | the modules for which `predicate(name, module)` is true |
///
/// Callables that are no modules are always checkpointed.
class CheckpointChoice {
 public:
  constexpr CheckpointChoice() = default;
  template <std::size_t N>
  consteval CheckpointChoice(const char (&text)[N]) : none_(std::string_view(text) == "none") {
    if (!none_ && std::string_view(text, N - 1) != "all") {
      throw "checkpoint: expected \"all\", \"none\", {\"Block\", \"encoder\"} or "
            "checkpoint_where(predicate)";
    }
  }
  CheckpointChoice(std::initializer_list<const char*> names);
  CheckpointChoice(const std::vector<std::string>& names);
  explicit CheckpointChoice(UnitPredicate predicate) : chosen_(std::move(predicate)) {}

  constexpr bool is_all() const { return !none_ && chosen_.is_auto(); }
  bool matches(const NamedModule& module) const;
  std::string to_text() const;

 private:
  bool none_ = false;
  UnitChoice chosen_;  // "auto" where the choice is all or none
};

/// Modules by a predicate.
inline CheckpointChoice checkpoint_where(UnitPredicate predicate) {
  return CheckpointChoice(std::move(predicate));
}

namespace detail {

/// Modules that fabric::checkpoint calls plainly, while this object lives.
class LeftOutModules {
 public:
  /// @throws MisconfigurationError for a name that no module has, and for TorchScript
  LeftOutModules(const std::string& label, const std::vector<NamedModule>& modules,
                 const CheckpointChoice& choice);
  ~LeftOutModules();
  LeftOutModules(const LeftOutModules&) = delete;
  LeftOutModules& operator=(const LeftOutModules&) = delete;

  static bool contain(const torch::nn::Module* module);

 private:
  std::vector<const torch::nn::Module*> modules_;
};

}  // namespace detail
}  // namespace fabric
