// A model as a part of a state: its tensors by name, the same under every strategy.
#include <algorithm>
#include <cstring>
#include <regex>
#include <unordered_map>
#include <unordered_set>

#include <ATen/ATen.h>

#include <accelerators/error.h>
#include <fabric/checkpoint/sharded_bytes.h>
#include <fabric/checkpoint/state.h>
#include <fabric/detail/model_core.h>
#include <strategies/deferred_init.h>
#include <strategies/flat/parameter_use.h>

namespace fabric::detail {
namespace {

// Whether `text` is one that `pattern` means, where `*` stands for anything.
bool matches(const std::string& pattern, const std::string& text) {
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = std::string::npos;
  std::size_t mark = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      mark = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != std::string::npos) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') {
    ++p;
  }
  return p == pattern.size();
}

bool skips(const LoadOptions& options, const std::string& name) {
  return std::any_of(options.skip_buffers.begin(), options.skip_buffers.end(),
                     [&](const std::string& pattern) { return matches(pattern, name); });
}

class Renaming {
 public:
  explicit Renaming(const LoadOptions& options) {
    for (const auto& [pattern, replacement] : options.rename) {
      try {
        rules_.emplace_back(std::regex(pattern), replacement);
      } catch (const std::regex_error& error) {
        throw MisconfigurationError(
            str("[fabric.load] a rename rule is no regular expression; got '", pattern,
                "': ", error.what(), "; expected for example \"^module\\\\.\""));
      }
    }
  }
  std::string operator()(std::string name) const {
    for (const auto& [pattern, replacement] : rules_) {
      name = std::regex_replace(name, pattern, replacement);
    }
    return name;
  }

 private:
  std::vector<std::pair<std::regex, std::string>> rules_;
};

std::string shape_of(at::ScalarType dtype, at::IntArrayRef sizes) {
  return detail::str(c10::toString(dtype), " ", sizes);
}

class ModuleNode final : public StateNode {
 public:
  ModuleNode(ModuleView view, std::shared_ptr<ModelCore> core, std::shared_ptr<void> keep)
      : view_(std::move(view)), core_(std::move(core)), keep_(std::move(keep)) {}

  void announce(const StateJob& job, ParameterIndex& index) const override {
    const ModelTensors tensors = view_.tensors();
    const auto core = core_of(job, tensors);
    index.add(tensors, core ? core->managed.get() : nullptr);
  }

  StateValue save(SaveScope& scope) const override {
    const ModelTensors tensors = view_.tensors();
    check_has_values(tensors, "save");
    const auto core = core_of(scope.job, tensors);
    const bool managed = core != nullptr;
    if (scope.beside && managed && core->managed->unit_shards().empty()) {
      UnroutedGuard::announce_writes(*core, tensors.parameters);
    }
    std::unordered_map<const UnitShards*, std::shared_ptr<ShardedUnitBytes>> units;
    StateDict dict;
    dict.ordered = true;
    for (const NamedTensor& named : tensors.parameters) {
      if (const auto* sharded = scope.parameters.sharded(named.tensor)) {
        auto& unit = units[sharded->unit.get()];
        if (!unit) {
          unit = std::make_shared<ShardedUnitBytes>(sharded->unit);
        }
        StoredTensor member = unit->member(unit, sharded->member);
        member.writer = StoredTensor::Writer::model;
        dict.append(named.name, std::move(member));
      } else {
        append(dict, named, scope.parameters.replicated(named.tensor), managed);
      }
    }
    for (const NamedTensor& named : tensors.buffers) {
      append(dict, named, false,
             false);  // statistics of BatchNorm may differ, and change in forward
    }
    return dict;
  }

  StateValue load(const StateValue& from, LoadScope& scope) override {
    const ModelTensors tensors = view_.tensors();
    check_has_values(tensors, "load");
    if (!from.is_dict()) {
      scope.mismatch(str("got ", from.description(), "; expected the tensors of ", view_.label));
      return from;
    }
    const Renaming rename(scope.options);
    std::unordered_map<std::string, const StateValue*> there;
    StateDict rest;
    for (const auto& [key, value] : from.dict()) {
      if (!key.is_string()) {
        rest.append(key, value);
        continue;
      }
      const std::string name = rename(key.string());
      if (!there.try_emplace(name, &value).second) {
        scope.mismatch(str("two names of the file become '", name, "' by the rename rules"));
      }
    }
    std::unordered_set<std::string> taken;
    std::unordered_map<const c10::TensorImpl*, bool> done;  // whether it is in the file
    const auto take = [&](const NamedTensor& named) {
      taken.insert(named.name);
      if (!scope.wants(named.name)) {
        return;
      }
      const auto found = there.find(named.name);
      bool& known = done[named.tensor.unsafeGetTensorImpl()];
      if (found == there.end()) {
        return;
      }
      known = true;
      const LoadScope::At at(scope, named.name);
      plan(named, *found->second, scope);
    };
    for (const NamedTensor& named : tensors.parameters) {
      take(named);
    }
    for (const NamedTensor& named : tensors.buffers) {
      take(named);
    }
    // A tensor with several names may be in the file under one of them only.
    for (const auto* list : {&tensors.parameters, &tensors.buffers}) {
      for (const NamedTensor& named : *list) {
        const auto found = done.find(named.tensor.unsafeGetTensorImpl());
        if (found != done.end() && !found->second &&
            !(list == &tensors.buffers && skips(scope.options, named.name))) {
          scope.missing(named.name);
        }
      }
    }
    for (const auto& [key, value] : from.dict()) {
      if (key.is_string() && !taken.contains(rename(key.string()))) {
        if (!skips(scope.options, key.string())) {
          scope.unexpected(key.string());
        }
        rest.append(key, value);
      }
    }
    if (const auto core = core_of(scope.job, tensors)) {
      scope.then([core] { core->managed->own_parts_changed(); });
    }
    return rest.empty() ? StateValue() : StateValue(std::move(rest));
  }

 private:
  std::shared_ptr<ModelCore> core_of(const StateJob& job, const ModelTensors& tensors) const {
    return core_ ? core_ : job.model_of(tensors);
  }

  void check_has_values(const ModelTensors& tensors, const char* call) const {
    for (const NamedTensor& named : tensors.parameters) {
      FABRIC_CHECK(Checkpoint, !is_deferred(named.tensor) && !named.tensor.is_meta(), "[fabric.",
                   call, "] parameter '", named.name, "' of ", view_.label,
                   " has no memory yet. Hint: a model made with empty_init gets it by ",
                   "fabric.setup, under fsdp only this rank's part; save and load after that.");
    }
  }

  static void append(StateDict& dict, const NamedTensor& named, bool replicated, bool managed) {
    StoredTensor stored(named.tensor);
    stored.requires_grad = false;  // as in Python's state_dict()
    stored.replicated = replicated;
    stored.writer = managed ? StoredTensor::Writer::model : StoredTensor::Writer::unknown;
    dict.append(named.name, std::move(stored));
  }

  static void plan(const NamedTensor& named, const StateValue& value, LoadScope& scope) {
    const auto* sharded = scope.parameters.sharded(named.tensor);
    const at::ScalarType dtype =
        sharded != nullptr ? sharded->unit->shard.scalar_type() : named.tensor.scalar_type();
    if (!value.is_tensor()) {
      scope.mismatch(str("got ", value.description(), "; expected a tensor of shape ",
                         shape_of(dtype, named.tensor.sizes())));
      return;
    }
    const StoredTensor& stored = value.stored();
    const bool convertible =
        stored.dtype() == dtype ||
        (c10::isFloatingType(stored.dtype()) && c10::isFloatingType(dtype)) ||
        (c10::isComplexType(stored.dtype()) && c10::isComplexType(dtype)) ||
        (c10::isIntegralType(stored.dtype(), false) && c10::isIntegralType(dtype, false));
    if (stored.sizes() != named.tensor.sizes() || !convertible) {
      scope.mismatch(str("got ", shape_of(stored.dtype(), stored.sizes()), "; expected ",
                         shape_of(dtype, named.tensor.sizes())));
      return;
    }
    if (sharded == nullptr) {
      scope.read(stored, named.tensor);
      return;
    }
    const MemberPart part = sharded->unit->part(sharded->member);
    scope.read_part(stored, named.tensor.strides(), part.begin, part.begin + part.size,
                    sharded->unit->shard.narrow(0, part.offset, part.size));
  }

  ModuleView view_;
  std::shared_ptr<ModelCore> core_;
  std::shared_ptr<void> keep_;
};

}  // namespace

std::shared_ptr<StateNode> module_node(ModuleView view, std::shared_ptr<ModelCore> core,
                                       std::shared_ptr<void> keep) {
  return std::make_shared<ModuleNode>(std::move(view), std::move(core), std::move(keep));
}

}  // namespace fabric::detail
