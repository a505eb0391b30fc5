// Notices uses of a model's parameters outside its routed calls (FabricOptions::unrouted).
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include <strategies/flat/parameter_use.h>
#include <strategies/unrouted_choice.h>

namespace fabric::detail {

struct ModelCore;

/// Lives with its model.
class UnroutedGuard final : public UseListener, public std::enable_shared_from_this<UnroutedGuard> {
 public:
  /// A guard where the choice asks for one and, for "warn", a routed call does something that other
  /// code would miss, and wherever losses are scaled; null otherwise. Must be owned by `core`.
  static std::shared_ptr<UnroutedGuard> make(const ModelCore& core, UnroutedChoice choice,
                                             std::vector<NamedTensor> parameters);

  /// Sees to it that writes to the parameters are announced (announce_late_write), by the guard
  /// there is or by one that says nothing. For strategies that do not announce them themselves.
  static void announce_writes(ModelCore& core, const std::vector<NamedTensor>& parameters);

  std::function<void()> before_use(const std::string& parameter,
                                   const std::string& operator_name) override;

  /// @throws RoutingError for a parameter whose gradient is scaled and waits for its step
  void before_write(const std::string& parameter, const std::string& operator_name) override;

  /// Watches again what the user's own Module::to replaced.
  void refresh() { watched_->refresh(); }

 private:
  UnroutedGuard(const ModelCore& core, bool throws) : core_(core), throws_(throws) {}

  std::string skipped() const;

  const ModelCore& core_;
  bool throws_;
  std::atomic<bool> said_{false};
  std::unique_ptr<WatchedParameters> watched_;
};

}  // namespace fabric::detail
