#include <strategies/registry.h>

#include <map>
#include <sstream>

#include <accelerators/error.h>
#include <strategies/ddp.h>
#include <strategies/fsdp.h>

namespace fabric {
namespace {

std::map<std::string, StrategyFactory>& factories() {
  // Filled here and not by static registrars, which a linker drops from static libraries.
  static std::map<std::string, StrategyFactory> known = {
      {"single_device",
       [](const StrategyContext&) { return std::make_unique<SingleDeviceStrategy>(); }},
      {"ddp",
       [](const StrategyContext& context) {
         const auto* options = std::any_cast<DDPOptions>(&context.options);
         return std::make_unique<DDPStrategy>(options ? *options : DDPOptions{}, context.device);
       }},
      {"fsdp",
       [](const StrategyContext& context) {
         const auto* options = std::any_cast<FSDPOptions>(&context.options);
         return std::make_unique<FSDPStrategy>(options ? *options : FSDPOptions{}, context.device);
       }},
  };
  return known;
}

}  // namespace

void register_strategy(const std::string& name, StrategyFactory factory) {
  const bool added = factories().emplace(name, std::move(factory)).second;
  FABRIC_CHECK(Misconfiguration, added, "[fabric.register_strategy] the name is taken; got '", name,
               "'; expected a name that is not registered yet");
}

std::vector<std::string> strategy_names() {
  std::vector<std::string> names;
  for (const auto& [name, factory] : factories()) {
    names.push_back(name);
  }
  return names;
}

std::unique_ptr<Strategy> make_strategy(const std::string& name, const StrategyContext& context) {
  const auto found = factories().find(name);
  if (found == factories().end()) {
    std::ostringstream known;
    for (const std::string& candidate : strategy_names()) {
      known << (known.tellp() > 0 ? ", " : "") << candidate;
    }
    FABRIC_CHECK(Misconfiguration, false, "[fabric.strategy] unknown strategy; got '", name,
                 "'; expected one of ", known.str(), ". Hint: fabric::register_strategy adds one.");
  }
  return found->second(context);
}

}  // namespace fabric
