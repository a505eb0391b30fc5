// An optimizer as a part of a state, in the form of Python's state_dict(): groups with their
// options, and state by the number of a parameter, the same under every strategy.
#include <algorithm>
#include <map>
#include <set>
#include <sstream>
#include <unordered_map>

#include <ATen/ATen.h>
#include <torch/serialize/archive.h>

#include <accelerators/error.h>
#include <fabric/checkpoint/optimizer_fields.h>
#include <fabric/checkpoint/sharded_bytes.h>
#include <fabric/checkpoint/state.h>
#include <fabric/detail/model_core.h>
#include <strategies/flat/parameter_use.h>

namespace fabric::detail {
namespace {

using torch::optim::Optimizer;

// The key under which classes that are not known keep LibTorch's archive.
constexpr const char* kArchive = "libtorch_archive";

using Fields = std::shared_ptr<const OptimizerFields>;
using Part = OptimizedTensor::Part;

// Where this rank keeps the state of a parameter.
struct Place {
  const OptimizedTensor* optimized = nullptr;
  const Part* part = nullptr;
};

class Groups {
 public:
  Groups(const StateJob& job, const Optimizer& optimizer)
      : given(job.strategy ? job.strategy->groups_of(optimizer) : alone().groups_of(optimizer)),
        optimized(job.strategy ? job.strategy->optimized_tensors(optimizer)
                               : alone().optimized_tensors(optimizer)) {
    for (const std::vector<at::Tensor>& group : given) {
      for (const at::Tensor& parameter : group) {
        numbers.try_emplace(parameter.unsafeGetTensorImpl(),
                            static_cast<std::int64_t>(numbers.size()));
      }
    }
    for (const OptimizedTensor& each : optimized) {
      for (const Part& part : each.parts) {
        places.try_emplace(part.parameter.unsafeGetTensorImpl(), Place{&each, &part});
      }
    }
  }

  std::vector<std::vector<at::Tensor>> given;
  std::vector<OptimizedTensor> optimized;
  std::unordered_map<const c10::TensorImpl*, std::int64_t> numbers;  // as Python counts them
  std::unordered_map<const c10::TensorImpl*, Place> places;

 private:
  static const Strategy& alone() {
    static const SingleDeviceStrategy strategy;
    return strategy;
  }
};

// What a file says of one parameter.
struct SavedState {
  const StateDict* all = nullptr;
  std::int64_t step = 0;
  std::map<std::string, const StoredTensor*> tensors;

  auto kind() const {
    std::set<std::string> names;
    for (const auto& [name, tensor] : tensors) {
      names.insert(name);
    }
    return std::pair(step, names);
  }
};

class OptimizerNode final : public StateNode {
 public:
  OptimizerNode(Optimizer& optimizer, std::shared_ptr<void> keep, bool by_handle)
      : optimizer_(optimizer), keep_(std::move(keep)), by_handle_(by_handle) {}

  StateValue save(SaveScope& scope) const override {
    check_no_accumulation(scope.job);
    const auto fields = optimizer_fields(optimizer_);
    const Groups groups(scope.job, optimizer_);
    if (!fields) {
      check_whole(scope.job, groups, "save");
      std::ostringstream bytes;
      torch::serialize::OutputArchive archive;
      optimizer_.save(archive);
      archive.save_to(bytes);
      return StateDict{{kArchive, Bytes{std::move(bytes).str()}}};
    }
    return StateDict{{"state", save_states(fields, groups, scope)},
                     {"param_groups", save_groups(fields, groups)}};
  }

  StateValue load(const StateValue& from, LoadScope& scope) override {
    const auto fields = optimizer_fields(optimizer_);
    Groups groups(scope.job, optimizer_);
    if (from.contains(kArchive)) {
      check_whole(scope.job, groups, "load");
      scope.then([this, bytes = from[kArchive].as<Bytes>().data] {
        std::istringstream stream(bytes);
        torch::serialize::InputArchive archive;
        archive.load_from(stream);
        optimizer_.load(archive);
      });
      return {};
    }
    if (!from.contains("state") || !from["state"].is_dict() || !from.contains("param_groups") ||
        !from["param_groups"].is_list()) {
      scope.mismatch(str("got ", from.description(),
                         "; expected an optimizer's state, with 'state' and 'param_groups'"));
      return {};
    }
    if (!fields) {
      scope.mismatch(str("a state of Python's form cannot be loaded into ",
                         c10::demangle(typeid(optimizer_).name()),
                         "; expected one that this class saved, or an optimizer of LibTorch or ",
                         "fabric"));
      return {};
    }
    std::unordered_map<const c10::TensorImpl*, SavedState> saved;
    if (plan_groups(fields, groups, from, scope, saved)) {
      plan_states(fields, groups, saved, scope);
    }
    StateDict rest;
    for (const auto& [key, value] : from.dict()) {
      if (!key.is_string() || (key.string() != "state" && key.string() != "param_groups")) {
        rest.append(key, value);
      }
    }
    return rest.empty() ? StateValue() : StateValue(std::move(rest));
  }

 private:
  // A run that went on from there would step with a part of the gradients.
  static void check_no_accumulation(const StateJob& job) {
    const bool local = std::any_of(job.models.begin(), job.models.end(), [](const auto& core) {
      return core->managed->holds_local_gradients();
    });
    FABRIC_CHECK(
        Checkpoint, !job.accumulating && !local, "[fabric.save] in the middle of an ",
        "accumulation: the gradients so far would be lost, as files have none. Hint: save ",
        "after optimizer.step(), where micro.last() is true.");
  }

  void check_whole(const StateJob& job, const Groups& groups, const char* call) const {
    for (const OptimizedTensor& each : groups.optimized) {
      FABRIC_CHECK(
          Checkpoint, !job.strategy || !job.strategy->is_shard(each.tensor), "[fabric.", call,
          "] the state of ", c10::demangle(typeid(optimizer_).name()),
          " on shards cannot be put together: its class is not known; expected SGD, Adam, ",
          "AdamW, RMSprop or Adagrad, of LibTorch or fused, or Lion. Hint: strategy ",
          "\"ddp\" saves any optimizer.");
    }
  }

  // -- saving ---------------------------------------------------------------------------------

  const torch::optim::OptimizerParamState* state_of(const OptimizedTensor& each) const {
    const auto found = optimizer_.state().find(each.tensor.unsafeGetTensorImpl());
    return found == optimizer_.state().end() ? nullptr : found->second.get();
  }

  StateDict save_states(const Fields& fields, const Groups& groups, SaveScope& scope) const {
    // One for each unit and name, so that the state of its members is gathered together.
    std::map<std::pair<const UnitShards*, std::string>, std::shared_ptr<ShardedUnitBytes>> units;
    StateDict states;
    std::set<const c10::TensorImpl*> done;
    for (const std::vector<at::Tensor>& group : groups.given) {
      for (const at::Tensor& parameter : group) {
        const auto place = groups.places.find(parameter.unsafeGetTensorImpl());
        if (place == groups.places.end() || !done.insert(parameter.unsafeGetTensorImpl()).second) {
          continue;
        }
        const auto* state = state_of(*place->second.optimized);
        if (state == nullptr) {
          continue;
        }
        StateDict own;
        const std::int64_t step = fields->step(*state);
        if (step >= 0) {
          own.append("step", at::scalar_tensor(static_cast<double>(step), at::kFloat));
        }
        const auto* sharded = scope.parameters.sharded(parameter);
        visit(fields, *state, [&](const char* name, at::Tensor& tensor) {
          if (!tensor.defined()) {
            return;
          }
          if (sharded == nullptr) {
            StoredTensor whole(tensor.detach());
            whole.replicated = scope.parameters.replicated(parameter);
            whole.writer = writer();
            own.append(name, std::move(whole));
            return;
          }
          auto& unit = units[{sharded->unit.get(), name}];
          if (!unit) {
            unit = std::make_shared<ShardedUnitBytes>(
                sharded->unit, parts_of(fields, *sharded->unit, groups, name), tensor.options());
          }
          StoredTensor member = unit->member(unit, sharded->member);
          member.writer = writer();
          own.append(name, std::move(member));
        });
        for (auto& [key, value] : fields->others(*state)) {
          own.append(key, value);
        }
        // LibTorch makes state for parameters that need none (SGD without momentum).
        if (!own.empty()) {
          states.append(groups.numbers.at(parameter.unsafeGetTensorImpl()), std::move(own));
        }
      }
    }
    return states;
  }

  template <class Visit>
  static void visit(const Fields& fields, const torch::optim::OptimizerParamState& state,
                    Visit&& visit) {
    fields->visit_tensors(const_cast<torch::optim::OptimizerParamState&>(state), visit);
  }

  // The state tensors of that name, for each member of a unit what this rank has of it.
  std::vector<at::Tensor> parts_of(const Fields& fields, const UnitShards& unit,
                                   const Groups& groups, const std::string& name) const {
    std::vector<at::Tensor> parts(unit.members.size());
    for (std::size_t m = 0; m < parts.size(); ++m) {
      const auto place = groups.places.find(unit.members[m].tensor.unsafeGetTensorImpl());
      const auto* state =
          place == groups.places.end() ? nullptr : state_of(*place->second.optimized);
      if (state == nullptr) {
        continue;
      }
      visit(fields, *state, [&](const char* own, at::Tensor& tensor) {
        if (own == name && tensor.defined()) {
          const Part& part = *place->second.part;
          parts[m] = tensor.detach().narrow(0, part.offset, part.size);
        }
      });
    }
    return parts;
  }

  StateList save_groups(const Fields& fields, const Groups& groups) const {
    StateList list;
    for (std::size_t g = 0; g < groups.given.size(); ++g) {
      StateDict group = fields->options(optimizer_.param_groups()[g].options());
      StateList numbers;
      for (const at::Tensor& parameter : groups.given[g]) {
        numbers.push_back(groups.numbers.at(parameter.unsafeGetTensorImpl()));
      }
      group.set("params", std::move(numbers));
      list.push_back(std::move(group));
    }
    return list;
  }

  // -- loading --------------------------------------------------------------------------------

  bool plan_groups(const Fields& fields, const Groups& groups, const StateValue& from,
                   LoadScope& scope,
                   std::unordered_map<const c10::TensorImpl*, SavedState>& saved) {
    const StateList& list = from["param_groups"].list();
    if (list.size() != groups.given.size()) {
      scope.mismatch(str("got ", list.size(), " parameter groups; expected ", groups.given.size()));
      return false;
    }
    const std::size_t before = scope.problems();
    for (std::size_t g = 0; g < list.size(); ++g) {
      const LoadScope::At at(scope, str("param_groups.", g));
      if (!list[g].is_dict() || !list[g].contains("params") || !list[g]["params"].is_list()) {
        scope.mismatch(str("got ", list[g].description(), "; expected a group with 'params'"));
        continue;
      }
      plan_options(fields, g, list[g].dict(), scope);
      const StateList& names = list[g]["params"].list();
      if (names.size() != groups.given[g].size()) {
        scope.mismatch(str("got ", names.size(), " parameters; expected ", groups.given[g].size()));
        continue;
      }
      for (std::size_t i = 0; i < names.size(); ++i) {
        at::Tensor parameter = groups.given[g][i];
        const StateValue* state = nullptr;
        if (names[i].is_string()) {  // as PyTorch's FSDP writes
          parameter = scope.parameters.named(names[i].string());
          if (!parameter.defined() || !groups.numbers.contains(parameter.unsafeGetTensorImpl())) {
            scope.mismatch(str("the file names parameters, and '", names[i].string(),
                               "' is none of this optimizer's. Hint: the model has to be part of "
                               "the state."));
            continue;
          }
          state = from["state"].dict().find(names[i].string());
        } else if (names[i].is_integer()) {
          state = from["state"].dict().find(names[i].as<std::int64_t>());
        }
        if (state != nullptr) {
          plan_parameter(fields, parameter, *state, names[i], scope,
                         saved[parameter.unsafeGetTensorImpl()]);
        }
      }
    }
    return scope.problems() == before;
  }

  void plan_options(const Fields& fields, std::size_t group, const StateDict& from,
                    LoadScope& scope) {
    auto& options = optimizer_.param_groups()[group].options();
    try {
      const auto trial = options.clone();
      fields->set_options(*trial, from);
    } catch (const CheckpointError& error) {
      scope.mismatch(error.what());
      return;
    }
    scope.then([this, fields, group, from] {
      fields->set_options(optimizer_.param_groups()[group].options(), from);
    });
  }

  void plan_parameter(const Fields& fields, const at::Tensor& parameter, const StateValue& from,
                      const StateValue& number, LoadScope& scope, SavedState& saved) {
    const LoadScope::At at(
        scope, str("state.", number.is_string() ? number.string() : number.description()));
    if (!from.is_dict()) {
      scope.mismatch(str("got ", from.description(), "; expected a parameter's state"));
      return;
    }
    const auto state = fields->make_state();
    saved.all = &from.dict();
    try {
      fields->set_others(*state, from.dict());
    } catch (const CheckpointError& error) {
      scope.mismatch(error.what());
      return;
    }
    if (fields->step(*state) >= 0) {
      const StateValue* step = from.dict().find("step");
      if (step == nullptr) {
        scope.missing("step");
      } else if (step->is_tensor() && step->stored().numel() == 1) {
        saved.step = static_cast<std::int64_t>(step->tensor().item<double>());
      } else if (step->is_integer() || step->is_real()) {
        saved.step = static_cast<std::int64_t>(step->as<double>());
      } else {
        scope.mismatch(str("got ", step->description(), " for 'step'; expected a number"));
      }
    }
    visit(fields, *state, [&](const char* name, at::Tensor&) {
      const StateValue* value = from.dict().find(name);
      if (value == nullptr || value->is_none()) {
        return;
      }
      if (!value->is_tensor() || value->stored().sizes() != parameter.sizes()) {
        scope.mismatch(detail::str("got ", value->description(), " for '", name,
                                   "'; expected a tensor of shape ", parameter.sizes()));
        return;
      }
      saved.tensors[name] = &value->stored();
    });
  }

  void plan_states(const Fields& fields, Groups& groups,
                   const std::unordered_map<const c10::TensorImpl*, SavedState>& saved,
                   LoadScope& scope) {
    if (scope.job.strategy) {
      // One tensor of state has one count of steps, and is there or is not.
      std::map<std::pair<std::int64_t, std::set<std::string>>, int> kinds;
      scope.job.strategy->separate(optimizer_, [&](const at::Tensor& parameter) {
        const auto found = saved.find(parameter.unsafeGetTensorImpl());
        return found == saved.end()
                   ? 0
                   : kinds.try_emplace(found->second.kind(), kinds.size() + 1).first->second;
      });
      groups = Groups(scope.job, optimizer_);
    }
    struct Loaded {
      const c10::TensorImpl* key;
      std::unique_ptr<torch::optim::OptimizerParamState> state;
    };
    auto loaded = std::make_shared<std::vector<Loaded>>();
    for (const OptimizedTensor& each : groups.optimized) {
      loaded->push_back({each.tensor.unsafeGetTensorImpl(), nullptr});
      const auto first = each.parts.empty()
                             ? saved.end()
                             : saved.find(each.parts.front().parameter.unsafeGetTensorImpl());
      if (first == saved.end()) {
        continue;
      }
      auto state = fields->make_state();
      fields->set_step(*state, first->second.step);
      fields->set_others(*state, *first->second.all);
      visit(fields, *state, [&](const char* name, at::Tensor& tensor) {
        if (!first->second.tensors.contains(name)) {
          return;
        }
        const EngineScope engine;
        tensor = at::zeros_like(each.tensor, each.tensor.options().requires_grad(false));
        for (const Part& part : each.parts) {
          const StoredTensor& from =
              *saved.at(part.parameter.unsafeGetTensorImpl()).tensors.at(name);
          if (part.parameter.is_same(each.tensor)) {
            scope.read(from, tensor);
          } else {
            scope.read_part(from, part.parameter.strides(), part.begin, part.begin + part.size,
                            tensor.narrow(0, part.offset, part.size));
          }
        }
      });
      loaded->back().state = std::move(state);
    }
    scope.then([this, loaded] {
      for (Loaded& each : *loaded) {
        if (each.state) {
          optimizer_.state()[const_cast<c10::TensorImpl*>(each.key)] = std::move(each.state);
        } else {
          optimizer_.state().erase(const_cast<c10::TensorImpl*>(each.key));
        }
      }
    });
  }

  // Only steps of a handle are announced.
  StoredTensor::Writer writer() const {
    return by_handle_ ? StoredTensor::Writer::optimizer : StoredTensor::Writer::unknown;
  }

  Optimizer& optimizer_;
  std::shared_ptr<void> keep_;
  bool by_handle_;
};

}  // namespace

std::shared_ptr<StateNode> optimizer_node(torch::optim::Optimizer& optimizer,
                                          std::shared_ptr<void> keep, bool by_handle) {
  return std::make_shared<OptimizerNode>(optimizer, std::move(keep), by_handle);
}

}  // namespace fabric::detail
