#include <fabric/checkpoint_options.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <unordered_map>

#include <torch/nn/module.h>

#include <accelerators/error.h>

namespace fabric {

CheckpointChoice::CheckpointChoice(const std::vector<std::string>& names) {
  FABRIC_CHECK(Misconfiguration,
               !names.empty() && std::find(names.begin(), names.end(), "") == names.end(),
               "[fabric.setup] checkpoint without a name; got ", names.size(), " names; expected ",
               "classes or dotted names of modules, such as {\"Block\", \"encoder\"}. Hint: ",
               "\"none\" checkpoints nothing.");
  chosen_ = UnitChoice(names);
}

CheckpointChoice::CheckpointChoice(std::initializer_list<const char*> names)
    : CheckpointChoice(std::vector<std::string>(names.begin(), names.end())) {}

bool CheckpointChoice::matches(const NamedModule& module) const {
  return is_all() || (!none_ && chosen_.matches(module.name, module.class_name, module.module));
}

std::string CheckpointChoice::to_text() const {
  return none_ ? "none" : is_all() ? "all" : chosen_.to_text();
}

namespace detail {
namespace {

struct Registry {
  std::mutex mutex;
  // A module whose owner let go of it may have left its address to another.
  std::unordered_map<const torch::nn::Module*, std::weak_ptr<const torch::nn::Module>> modules;
  std::atomic<std::size_t> size{0};
};

Registry& registry() {
  static Registry& all = *new Registry;  // models may end after static objects
  return all;
}

}  // namespace

LeftOutModules::LeftOutModules(const std::string& label, const std::vector<NamedModule>& modules,
                               const CheckpointChoice& choice) {
  if (choice.is_all()) {
    return;
  }
  std::size_t matching = 0;
  for (const NamedModule& named : modules) {
    FABRIC_CHECK(Misconfiguration, named.module != nullptr,
                 "[fabric.setup] checkpoint = ", choice.to_text(), " for ", label,
                 ", whose modules are TorchScript; expected ",
                 "\"all\". Hint: leave fabric::checkpoint out where it is called.");
    if (choice.matches(named)) {
      ++matching;
    } else {
      modules_.push_back(named.module);
    }
  }
  FABRIC_CHECK(
      Misconfiguration, matching > 0 || choice.to_text() == "none", "[fabric.setup] no module of ",
      label, " is chosen by checkpoint = ", choice.to_text(),
      "; expected classes or dotted names of its modules. Hint: \"none\" ", "checkpoints nothing.");
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  for (const torch::nn::Module* module : modules_) {
    all.modules.insert_or_assign(module, module->weak_from_this());
  }
  all.size = all.modules.size();
}

LeftOutModules::~LeftOutModules() {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  for (const torch::nn::Module* module : modules_) {
    all.modules.erase(module);
  }
  all.size = all.modules.size();
}

bool LeftOutModules::contain(const torch::nn::Module* module) {
  Registry& all = registry();
  if (module == nullptr || all.size == 0) {
    return false;
  }
  const std::lock_guard lock(all.mutex);
  const auto found = all.modules.find(module);
  if (found == all.modules.end()) {
    return false;
  }
  const std::weak_ptr<const torch::nn::Module> none;
  const bool owned = found->second.owner_before(none) || none.owner_before(found->second);
  return !owned || !found->second.expired();
}

}  // namespace detail
}  // namespace fabric
