// Strategies by name. Users add their own with register_strategy.
#pragma once

#include <any>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <c10/core/Device.h>

#include <strategies/strategy.h>

namespace fabric {

/// What a strategy is made from.
struct StrategyContext {
  c10::Device device = c10::Device(c10::kCPU);
  std::any options;  ///< the strategy's own options struct, empty for its defaults
};

using StrategyFactory = std::function<std::unique_ptr<Strategy>(const StrategyContext&)>;

/// Makes `name` usable as `FabricOptions{.strategy = std::string("name")}`.
/// @throws MisconfigurationError when the name is taken
void register_strategy(const std::string& name, StrategyFactory factory);

/// @throws MisconfigurationError for a name that is not registered, listing those that are
std::unique_ptr<Strategy> make_strategy(const std::string& name, const StrategyContext& context);

/// The registered names, sorted.
std::vector<std::string> strategy_names();

}  // namespace fabric
