#include <strategies/unit_plan.h>

#include <algorithm>
#include <set>
#include <string>
#include <unordered_set>
#include <utility>

#include <ATen/ATen.h>

#include <accelerators/error.h>

namespace fabric {
namespace {

// Below this a message costs more than its bytes: small neighbours are gathered together.
constexpr std::int64_t kSmallUnit = std::int64_t{1} << 20;
// Parameters that no module claims as a unit are cut here.
constexpr std::int64_t kLooseUnit = std::int64_t{32} << 20;

bool inside(const std::string& name, const std::string& module) {
  return module.empty() ||
         (name.size() > module.size() && name.starts_with(module) && name[module.size()] == '.');
}

std::vector<std::string> unit_modules(const std::string& label, const ModelTensors& tensors,
                                      const UnitChoice& choice) {
  std::vector<std::string> names;
  for (const NamedModule& module : tensors.modules) {
    if (choice.is_auto() ? module.element
                         : choice.matches(module.name, module.class_name, module.module)) {
      const bool nested = std::any_of(names.begin(), names.end(), [&](const std::string& outer) {
        return inside(module.name, outer);
      });
      if (!choice.is_auto() || !nested) {
        names.push_back(module.name);
      }
    }
  }
  if (!choice.is_auto() && names.empty()) {
    std::set<std::string> classes;
    for (const NamedModule& module : tensors.modules) {
      classes.insert(module.class_name);
    }
    FABRIC_CHECK(Misconfiguration, false, "[fabric.fsdp] no module of ", label, " is a unit; got ",
                 "units=", choice.to_text(), "; it has modules of the classes ",
                 detail::list_or({classes.begin(), classes.end()}),
                 ". Hint: leave units out for \"auto\".");
  }
  return names;
}

// The innermost unit module that holds a parameter; null for none.
const std::string* unit_of(const std::string& parameter, const std::vector<std::string>& modules) {
  const std::string* best = nullptr;
  for (const std::string& module : modules) {
    if (inside(parameter, module) && (best == nullptr || module.size() > best->size())) {
      best = &module;
    }
  }
  return best;
}

struct Run {
  std::string module;  // empty: claimed by none
  bool claimed = false;
  at::ScalarType dtype{};
  bool trainable = false;
  std::int64_t bytes = 0;
  UnitPlan plan;

  bool of_kind(const at::Tensor& tensor) const {
    return dtype == tensor.scalar_type() && trainable == tensor.requires_grad();
  }
  void add(const NamedTensor& named) {
    bytes += static_cast<std::int64_t>(named.tensor.nbytes());
    plan.parameters.push_back(named);
  }
};

}  // namespace

std::vector<UnitPlan> plan_units(const std::string& label, const ModelTensors& tensors,
                                 const UnitChoice& choice) {
  const std::vector<std::string> modules = unit_modules(label, tensors, choice);
  std::vector<Run> runs;
  std::unordered_set<const c10::TensorImpl*> seen;
  for (const NamedTensor& named : tensors.parameters) {
    const at::Tensor& tensor = named.tensor;
    if (!seen.insert(tensor.unsafeGetTensorImpl()).second || tensor.numel() == 0) {
      continue;
    }
    FABRIC_CHECK(Misconfiguration, !tensor.is_complex(), "[fabric.fsdp] parameter '", named.name,
                 "' of ", label, " is complex, which collectives cannot average; got ",
                 tensor.scalar_type(), ". Hint: keep its real view (torch::view_as_real) as the ",
                 "parameter.");
    const std::string* module = unit_of(named.name, modules);
    const auto same = std::find_if(runs.rbegin(), runs.rend(), [&](const Run& run) {
      if (!run.of_kind(tensor)) {
        return false;
      }
      if (module != nullptr) {
        return run.claimed && run.module == *module;
      }
      return !run.claimed && &run == &runs.back() && run.bytes < kLooseUnit;
    });
    const bool is_new = same == runs.rend();
    Run& run = is_new ? runs.emplace_back() : *same;
    if (is_new) {
      run.claimed = module != nullptr;
      run.module = module != nullptr ? *module : std::string();
      run.dtype = tensor.scalar_type();
      run.trainable = tensor.requires_grad();
      run.plan.name = !run.module.empty() ? run.module : named.name;
    }
    run.add(named);
  }
  std::vector<UnitPlan> plans;
  std::int64_t bytes = kSmallUnit;
  const Run* last = nullptr;
  for (Run& run : runs) {
    const bool join = choice.is_auto() && last != nullptr && last->dtype == run.dtype &&
                      last->trainable == run.trainable && bytes + run.bytes < kSmallUnit;
    if (join) {
      bytes += run.bytes;
      UnitPlan& plan = plans.back();
      plan.name += "+" + run.plan.name;
      plan.parameters.insert(plan.parameters.end(), run.plan.parameters.begin(),
                             run.plan.parameters.end());
    } else {
      bytes = run.bytes;
      plans.push_back(std::move(run.plan));
    }
    last = &run;
  }
  return plans;
}

}  // namespace fabric
