#include <accelerators/registry.h>

#include <mutex>

#include <accelerators/cpu.h>
#include <accelerators/cuda/cuda.h>
#include <accelerators/error.h>
#include <accelerators/text.h>

namespace fabric {
namespace {

struct Registry {
  std::mutex mutex;
  std::vector<std::unique_ptr<Accelerator>> accelerators;
};

Registry& registry() {
  // Never destroyed: accelerators stay usable in static destructors of a user's program.
  static Registry* value = [] {
    auto* made = new Registry;
    made->accelerators.push_back(cpu::make_accelerator());
    made->accelerators.push_back(cuda::make_accelerator());
    return made;
  }();
  return *value;
}

/// The accelerators of the moment; they are never removed, so the pointers stay good.
std::vector<Accelerator*> snapshot() {
  const std::lock_guard<std::mutex> lock(registry().mutex);
  std::vector<Accelerator*> all;
  for (const auto& accelerator : registry().accelerators) {
    all.push_back(accelerator.get());
  }
  return all;
}

}  // namespace

Accelerator& find_accelerator(const std::string& name) {
  std::string wanted = detail::to_lower(detail::trim(name));
  if (wanted == "auto") {
    wanted = cuda::device_count() > 0 ? "cuda" : "cpu";
  } else if (wanted == "gpu") {
    wanted = "cuda";
  }
  for (Accelerator* accelerator : snapshot()) {
    if (accelerator->name() == wanted) {
      return *accelerator;
    }
  }
  std::vector<std::string> names = accelerator_names();
  names.insert(names.begin(), {"auto", "gpu"});
  FABRIC_CHECK(Misconfiguration, false, "[fabric.accelerator] unknown accelerator; got '", name,
               "'; expected ", detail::list_or(names),
               ". Hint: register_accelerator() adds one of your own.");
  __builtin_unreachable();
}

Accelerator& get_accelerator(const std::string& name) {
  Accelerator& accelerator = find_accelerator(name);
  FABRIC_CHECK(Device, accelerator.is_available(), "[fabric.accelerator] ", accelerator.name(),
               " cannot be used; got '", name, "'; expected ",
               detail::list_or(usable_accelerator_names()),
               ", which can. Hint: ", accelerator.unavailable_reason());
  return accelerator;
}

void register_accelerator(std::unique_ptr<Accelerator> accelerator) {
  FABRIC_CHECK(Misconfiguration, accelerator != nullptr,
               "[fabric.register_accelerator] got no accelerator");
  const std::string name = accelerator->name();
  FABRIC_CHECK(Misconfiguration, !name.empty() && name == detail::to_lower(detail::trim(name)),
               "[fabric.register_accelerator] a name that options cannot hold; got '", name,
               "'; expected lower case without surrounding blanks");
  const std::lock_guard<std::mutex> lock(registry().mutex);
  bool taken = name == "auto" || name == "gpu";
  for (const auto& other : registry().accelerators) {
    taken = taken || other->name() == name;
  }
  FABRIC_CHECK(Misconfiguration, !taken, "[fabric.register_accelerator] the name is taken; got '",
               name, "'; expected one that is not auto, gpu or registered before");
  registry().accelerators.push_back(std::move(accelerator));
}

std::vector<std::string> accelerator_names() {
  std::vector<std::string> names;
  for (const Accelerator* accelerator : snapshot()) {
    names.push_back(accelerator->name());
  }
  return names;
}

std::vector<std::string> usable_accelerator_names() {
  std::vector<std::string> names;
  for (const Accelerator* accelerator : snapshot()) {
    if (accelerator->is_available()) {
      names.push_back(accelerator->name());
    }
  }
  return names;
}

}  // namespace fabric
