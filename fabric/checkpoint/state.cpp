#include <fabric/checkpoint/state.h>

#include <algorithm>

#include <ATen/ATen.h>

#include <accelerators/error.h>
#include <accelerators/ordinary_scope.h>

namespace fabric {

State::State(std::initializer_list<Entry> entries) {
  for (const Entry& entry : entries) {
    add(entry);
  }
}

void State::add(Entry entry) {
  const bool taken = std::any_of(entries_.begin(), entries_.end(),
                                 [&](const Entry& other) { return other.name == entry.name; });
  FABRIC_CHECK(Misconfiguration, !taken, "[fabric.state] two entries have the name '", entry.name,
               "'; expected a name for each");
  entries_.push_back(std::move(entry));
}

namespace detail {
namespace {

// Parts with names: a State, a struct, a map.
class DictNode final : public StateNode {
 public:
  explicit DictNode(State state) : state_(std::move(state)) {}

  void announce(const StateJob& job, ParameterIndex& index) const override {
    for (const State::Entry& entry : state_.entries()) {
      entry.node->announce(job, index);
    }
  }

  StateValue save(SaveScope& scope) const override {
    StateDict dict;
    for (const State::Entry& entry : state_.entries()) {
      dict.append(entry.name, entry.node->save(scope));
    }
    return dict;
  }

  StateValue load(const StateValue& from, LoadScope& scope) override {
    if (!from.is_dict()) {
      scope.mismatch(str("got ", from.description(), "; expected a dictionary"));
      return from;
    }
    StateDict rest;
    for (const auto& [key, value] : from.dict()) {
      const bool asked = key.is_string() &&
                         std::any_of(state_.entries().begin(), state_.entries().end(),
                                     [&](const State::Entry& e) { return e.name == key.string(); });
      if (!asked) {
        rest.append(key, value);
      }
    }
    for (const State::Entry& entry : state_.entries()) {
      const StateValue* value = from.dict().find(entry.name);
      if (value == nullptr) {
        if (scope.wants(entry.name)) {
          scope.missing(entry.name);
        }
        continue;
      }
      const LoadScope::At at(scope, entry.name);
      StateValue left = entry.node->load(*value, scope);
      if (!left.is_none()) {
        rest.append(entry.name, std::move(left));
      }
    }
    return rest.empty() ? StateValue() : StateValue(std::move(rest));
  }

 private:
  State state_;
};

class ListNode final : public StateNode {
 public:
  explicit ListNode(std::vector<std::shared_ptr<StateNode>> nodes) : nodes_(std::move(nodes)) {}

  void announce(const StateJob& job, ParameterIndex& index) const override {
    for (const auto& node : nodes_) {
      node->announce(job, index);
    }
  }

  StateValue save(SaveScope& scope) const override {
    StateList list;
    for (const auto& node : nodes_) {
      list.push_back(node->save(scope));
    }
    return list;
  }

  StateValue load(const StateValue& from, LoadScope& scope) override {
    if (!from.is_list() || from.list().size() != nodes_.size()) {
      scope.mismatch(str("got ", from.description(), "; expected a list of ", nodes_.size()));
      return from;
    }
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      const LoadScope::At at(scope, std::to_string(i));
      nodes_[i]->load(from.list()[i], scope);
    }
    return {};
  }

 private:
  std::vector<std::shared_ptr<StateNode>> nodes_;
};

class TensorNode final : public StateNode {
 public:
  TensorNode(std::function<at::Tensor()> get, std::function<void(at::Tensor)> set)
      : get_(std::move(get)), set_(std::move(set)) {}

  StateValue save(SaveScope&) const override { return get_(); }

  StateValue load(const StateValue& from, LoadScope& scope) override {
    if (!scope.wants("")) {
      return {};
    }
    if (from.is_none()) {
      scope.then([this] { set_({}); });
      return {};
    }
    if (!from.is_tensor()) {
      scope.mismatch(str("got ", from.description(), "; expected a tensor"));
      return from;
    }
    at::Tensor to = get_();
    if (to.defined() && to.sizes() == from.stored().sizes()) {
      scope.read(from.stored(), to);
      return {};
    }
    const OrdinaryScope ordinary;
    const auto options =
        to.defined() ? to.options() : at::TensorOptions().dtype(from.stored().dtype());
    to = at::empty(from.stored().sizes(), options);
    scope.read(from.stored(), to);
    scope.then([this, to] { set_(to); });
    return {};
  }

 private:
  std::function<at::Tensor()> get_;
  std::function<void(at::Tensor)> set_;
};

}  // namespace

std::shared_ptr<StateNode> state_node(State state) {
  return std::make_shared<DictNode>(std::move(state));
}

std::shared_ptr<StateNode> list_node(std::vector<std::shared_ptr<StateNode>> nodes) {
  return std::make_shared<ListNode>(std::move(nodes));
}

std::shared_ptr<StateNode> tensor_node(std::function<at::Tensor()> get,
                                       std::function<void(at::Tensor)> set) {
  return std::make_shared<TensorNode>(std::move(get), std::move(set));
}

// Under Python's names, as numbers: what torch.amp.GradScaler.state_dict() gives.
std::shared_ptr<StateNode> scaler_node(GradScaler& scaler) {
  return std::make_shared<ValueNode>(
      [&scaler] {
        return StateValue(StateDict{{"scale", scaler.scale().item<double>()},
                                    {"growth_factor", scaler.options().growth_factor},
                                    {"backoff_factor", scaler.options().backoff_factor},
                                    {"growth_interval", scaler.options().growth_interval},
                                    {"_growth_tracker", scaler.growth_tracker().item<int>()}});
      },
      [&scaler](StateValue state) -> std::function<void()> {
        GradScalerOptions options = scaler.options();
        options.growth_factor = state["growth_factor"].as<double>();
        options.backoff_factor = state["backoff_factor"].as<double>();
        options.growth_interval = state["growth_interval"].as<std::int64_t>();
        const auto scale = state["scale"].as<double>();
        const auto tracker = state["_growth_tracker"].as<std::int64_t>();
        return [&scaler, options, scale, tracker] { scaler.restore(scale, tracker, options); };
      });
}

StateValue ValueNode::save(SaveScope&) const {
  return get_();
}

StateValue ValueNode::load(const StateValue& from, LoadScope& scope) {
  if (!scope.wants("")) {
    return {};
  }
  try {
    scope.then(set_(from));
  } catch (const CheckpointError& error) {
    scope.mismatch(error.what());
  }
  return {};
}

StateValue PlannedNode::load(const StateValue& from, LoadScope& scope) {
  if (!scope.wants("")) {
    return {};
  }
  if (!from.is_dict()) {
    scope.mismatch(str("got ", from.description(), "; expected a dictionary"));
    return from;
  }
  load_(from.dict(), scope);
  return {};
}

}  // namespace detail
}  // namespace fabric
