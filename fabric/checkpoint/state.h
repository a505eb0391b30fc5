// State: what is saved under which name, and where it goes when it is loaded.
//
//     int epoch = 0;
//     fabric::State state{{"model", model}, {"optimizer", optimizer}, {"epoch", epoch}};
//     fabric.save("checkpoint.pt", state);
//     fabric.load("checkpoint.pt", state);   // in place
//
// The names are the program's; a file of Python's has the same where its program chose them so.
#pragma once

#include <deque>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <ATen/core/Generator.h>
#include <torch/optim/schedulers/lr_scheduler.h>
#include <torch/optim/schedulers/reduce_on_plateau_scheduler.h>

#include <fabric/checkpoint/state_node.h>
#include <fabric/module.h>
#include <fabric/optimizer.h>
#include <strategies/precision/grad_scaler.h>

namespace fabric {

namespace detail {
template <class T>
std::shared_ptr<StateNode> make_node(T&& value);
}

/// Names with what they stand for. A variable is referred to, so it has to live as long as the
/// state; a temporary is kept (handles such as FabricModule are copied, and refer to what they
/// always do). Takes
///
/// - models in any form, set up or not, and optimizers likewise,
/// - schedules (fabric::Schedule, LibTorch's schedulers), fabric::EMA, Fabric::grad_scaler(), data
///   loaders, Fabric::random_state(), at::Generator,
/// - tensors, numbers, strings, enums, paths, optionals, containers and maps of those,
/// - plain structs, by the names of their fields, of any of these: options, or a whole training,
/// - classes with `StateDict state_dict() const` and `void load_state_dict(const StateDict&)`,
/// - other States, and pointers to any of these.
class State {
 public:
  struct Entry {
    template <class T>
    Entry(std::string key, T&& value)
        : name(std::move(key)), node(detail::make_node(std::forward<T>(value))) {}
    std::string name;
    std::shared_ptr<detail::StateNode> node;
  };

  State() = default;
  /// @throws MisconfigurationError for a name that comes twice
  State(std::initializer_list<Entry> entries);
  /// The fields of a struct.
  template <class T>
    requires detail::PlainAggregate<T>
  static State of(T& aggregate);

  template <class T>
  void add(std::string name, T&& value) {
    add(Entry(std::move(name), std::forward<T>(value)));
  }
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  void add(Entry entry);
  std::vector<Entry> entries_;
};

namespace detail {

// ---- nodes of what is known by its base class ---------------------------------------------------

std::shared_ptr<StateNode> state_node(State state);
/// @param core null for a model that the job has to look up
/// @param keep what the module must outlive, if anything
std::shared_ptr<StateNode> module_node(ModuleView view, std::shared_ptr<ModelCore> core,
                                       std::shared_ptr<void> keep);
/// @param by_handle whether it is a FabricOptimizer's
std::shared_ptr<StateNode> optimizer_node(torch::optim::Optimizer& optimizer,
                                          std::shared_ptr<void> keep, bool by_handle);
std::shared_ptr<StateNode> scheduler_node(torch::optim::LRScheduler& scheduler);
std::shared_ptr<StateNode> scheduler_node(torch::optim::ReduceLROnPlateauScheduler& scheduler);
std::shared_ptr<StateNode> generator_node(at::Generator generator);
std::shared_ptr<StateNode> scaler_node(GradScaler& scaler);
/// @param set puts the loaded tensor in the place of one that is undefined or of another shape
std::shared_ptr<StateNode> tensor_node(std::function<at::Tensor()> get,
                                       std::function<void(at::Tensor)> set);
/// A list of nodes, which stands for a container of what is loaded in place.
std::shared_ptr<StateNode> list_node(std::vector<std::shared_ptr<StateNode>> nodes);

/// Values of the program: taken at saving, put back at loading.
class ValueNode final : public StateNode {
 public:
  ValueNode(std::function<StateValue()> get, std::function<std::function<void()>(StateValue)> set)
      : get_(std::move(get)), set_(std::move(set)) {}
  StateValue save(SaveScope& scope) const override;
  StateValue load(const StateValue& from, LoadScope& scope) override;

 private:
  std::function<StateValue()> get_;
  // Converts, and returns what puts the converted value in its place.
  std::function<std::function<void()>(StateValue)> set_;
};

/// What takes part in planning: checks in `load_state`, changes only in what it hands to the scope.
template <class T>
concept PlansItsState = requires(const T& saved, T& loaded, const StateDict& state,
                                 SaveScope& save_scope, LoadScope& load_scope) {
  { saved.save_state(save_scope) } -> std::convertible_to<StateDict>;
  loaded.load_state(state, load_scope);
};

class PlannedNode final : public StateNode {
 public:
  PlannedNode(std::function<StateDict(SaveScope&)> save,
              std::function<void(const StateDict&, LoadScope&)> load)
      : save_(std::move(save)), load_(std::move(load)) {}
  StateValue save(SaveScope& scope) const override { return save_(scope); }
  StateValue load(const StateValue& from, LoadScope& scope) override;

 private:
  std::function<StateDict(SaveScope&)> save_;
  std::function<void(const StateDict&, LoadScope&)> load_;
};

// ---- which of them a type gets ------------------------------------------------------------------

template <class T>
concept AnyModule =
    is_fabric_module<T> || ModuleHolder<T> || SharedModule<T> ||
    std::is_base_of_v<torch::nn::Module, T> || std::is_base_of_v<torch::jit::Module, T>;

/// LibTorch's loaders, which cannot say where they are.
template <class T>
concept TorchLoader = requires(T& loader) {
  loader.begin();
  loader.options();
  loader.join();
};

template <class T>
concept PointerLike = (std::is_pointer_v<T> && !std::is_same_v<T, const char*>) ||
                      is_instance_of<T, std::shared_ptr> ||
                      is_instance_of<T, std::reference_wrapper> || requires(T& pointer) {
                        typename T::element_type;
                        typename T::deleter_type;
                        pointer.get();
                      };

template <class T>
constexpr bool is_value();

template <class Aggregate, std::size_t... I>
constexpr bool all_fields_are_values(std::index_sequence<I...>) {
  return (is_value<boost::pfr::tuple_element_t<I, Aggregate>>() && ...);
}

/// Whether T is loaded by replacing it: values without parts that live on their own.
template <class T>
constexpr bool is_value() {
  if constexpr (AnyModule<T> || std::is_base_of_v<torch::optim::Optimizer, T> ||
                std::is_same_v<T, FabricOptimizer> || std::is_same_v<T, State> || PointerLike<T> ||
                PlansItsState<T> || std::is_same_v<T, at::Generator> ||
                std::is_same_v<T, GradScaler>) {
    return false;
  } else if constexpr (is_sequence<T> || is_instance_of<T, std::optional>) {
    return is_value<typename T::value_type>();
  } else if constexpr (is_map<T>) {
    return is_value<typename T::mapped_type>();
  } else if constexpr (PlainAggregate<T> && !HasStateDict<T>) {
    return all_fields_are_values<T>(std::make_index_sequence<boost::pfr::tuple_size_v<T>>());
  } else {
    return true;
  }
}

template <class T>
std::shared_ptr<StateNode> module_node_of(T&& model) {
  using Plain = std::remove_cvref_t<T>;
  if constexpr (is_fabric_module<Plain>) {
    auto keep = std::make_shared<Plain>(model);
    const std::shared_ptr<ModelCore> core(keep, &keep->core());
    return module_node(view_of(keep->module()), core, keep);
  } else {
    const auto shared = shared_module(std::forward<T>(model));
    return module_node(view_of(*shared), nullptr, shared);
  }
}

template <class T>
std::shared_ptr<StateNode> aggregate_node(T& aggregate, std::shared_ptr<void> keep) {
  State fields;
  boost::pfr::for_each_field_with_name(
      aggregate, [&](std::string_view name, auto& field) { fields.add(std::string(name), field); });
  auto node = state_node(std::move(fields));
  if (keep == nullptr) {
    return node;
  }
  struct Both {
    std::shared_ptr<StateNode> node;
    std::shared_ptr<void> keep;
  };
  auto both = std::make_shared<Both>(Both{node, keep});
  return std::shared_ptr<StateNode>(both, node.get());
}

/// @param value outlives the node, or is kept by `keep`
template <class T>
std::shared_ptr<StateNode> node_of(T& value, const std::shared_ptr<void>& keep) {
  using Plain = std::remove_const_t<T>;
  if constexpr (std::is_same_v<Plain, State>) {
    return state_node(value);
  } else if constexpr (AnyModule<Plain>) {
    return module_node_of(value);
  } else if constexpr (std::is_same_v<Plain, FabricOptimizer>) {
    FabricOptimizer handle = value;
    torch::optim::Optimizer& optimizer = handle;
    return optimizer_node(optimizer, std::make_shared<FabricOptimizer>(std::move(handle)), true);
  } else if constexpr (std::is_base_of_v<torch::optim::Optimizer, Plain>) {
    static_assert(!std::is_const_v<T>, "a fabric::State needs an optimizer that is not const");
    return optimizer_node(value, keep, false);
  } else if constexpr (PlansItsState<Plain>) {
    return std::make_shared<PlannedNode>(
        [&value, keep](SaveScope& scope) { return StateDict(value.save_state(scope)); },
        [&value, keep](const StateDict& state, LoadScope& scope) {
          const_cast<Plain&>(value).load_state(state, scope);
        });
  } else if constexpr (HasStateDict<Plain>) {
    return std::make_shared<ValueNode>(
        [&value, keep] { return StateValue(StateDict(value.state_dict())); },
        [&value, keep](StateValue state) -> std::function<void()> {
          state.dict();  // a dictionary, or an error now
          return [&value, keep, state = std::move(state)] {
            const_cast<Plain&>(value).load_state_dict(state.dict());
          };
        });
  } else if constexpr (std::is_base_of_v<torch::optim::LRScheduler, Plain> ||
                       std::is_base_of_v<torch::optim::ReduceLROnPlateauScheduler, Plain>) {
    return scheduler_node(value);
  } else if constexpr (std::is_same_v<Plain, at::Generator>) {
    return generator_node(value);
  } else if constexpr (std::is_same_v<Plain, GradScaler>) {
    return scaler_node(value);
  } else if constexpr (TorchLoader<Plain>) {
    static_assert(!TorchLoader<Plain>,
                  "LibTorch's DataLoader cannot be part of a fabric::State: its sampler is private "
                  "and begins anew with every epoch, so that it cannot go on in the middle of one. "
                  "Make it by fabric.make_data_loader.");
    return nullptr;
  } else if constexpr (PointerLike<Plain>) {
    if constexpr (is_instance_of<Plain, std::reference_wrapper>) {
      return node_of(value.get(), keep);
    } else {
      FABRIC_CHECK(Misconfiguration, value != nullptr, "[fabric.state] a pointer in the state is ",
                   "null; expected one to what is saved and loaded");
      if constexpr (is_instance_of<Plain, std::shared_ptr>) {
        return node_of(
            *value,
            std::const_pointer_cast<std::remove_const_t<typename Plain::element_type>>(value));
      } else {
        return node_of(*value, keep);
      }
    }
  } else if constexpr (std::is_base_of_v<at::Tensor, Plain>) {
    return tensor_node(
        [&value, keep] { return at::Tensor(value); },
        [&value, keep](at::Tensor loaded) { const_cast<Plain&>(value) = std::move(loaded); });
  } else if constexpr (!is_value<Plain>() && is_sequence<Plain>) {
    std::vector<std::shared_ptr<StateNode>> nodes;
    for (auto& element : value) {
      nodes.push_back(node_of(element, keep));
    }
    return list_node(std::move(nodes));
  } else if constexpr (!is_value<Plain>() && is_map<Plain>) {
    State entries;
    for (auto& [key, element] : value) {
      static_assert(std::is_convertible_v<decltype(key), std::string>,
                    "a map in a fabric::State whose values are models, optimizers or the like has "
                    "strings as keys");
      entries.add(key, element);
    }
    return state_node(std::move(entries));
  } else if constexpr (PlainAggregate<Plain> &&
                       !std::is_constructible_v<StateValue, const Plain&>) {
    return aggregate_node(value, keep);
  } else {
    static_assert(!std::is_const_v<T> || std::is_copy_constructible_v<Plain>);
    return std::make_shared<ValueNode>(
        [&value, keep] { return to_state<Plain>(value); },
        [&value, keep](StateValue state) -> std::function<void()> {
          if constexpr (std::is_const_v<T>) {
            throw MisconfigurationError(
                "[fabric.load] a value of the state is const: it can be saved, not loaded. Hint: a "
                "State for loading refers to variables.");
          } else {
            return [&value, keep, loaded = std::make_shared<Plain>(state.as<Plain>())] {
              value = std::move(*loaded);
            };
          }
        });
  }
}

template <class T>
std::shared_ptr<StateNode> make_node(T&& value) {
  using Plain = std::remove_cvref_t<T>;
  if constexpr (std::is_lvalue_reference_v<T> && !std::is_array_v<std::remove_reference_t<T>>) {
    return node_of(value, nullptr);
  } else if constexpr (std::is_array_v<std::remove_reference_t<T>>) {
    auto kept = std::make_shared<std::string>(value);  // a literal
    return node_of(*kept, kept);
  } else if constexpr (AnyModule<Plain>) {
    return module_node_of(std::forward<T>(value));
  } else {
    auto kept = std::make_shared<Plain>(std::forward<T>(value));
    return node_of(*kept, kept);
  }
}

}  // namespace detail

template <class T>
  requires detail::PlainAggregate<T>
State State::of(T& aggregate) {
  State fields;
  boost::pfr::for_each_field_with_name(
      aggregate, [&](std::string_view name, auto& field) { fields.add(std::string(name), field); });
  return fields;
}

}  // namespace fabric
