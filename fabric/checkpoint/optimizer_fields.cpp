#include <fabric/checkpoint/optimizer_fields.h>

#include <deque>
#include <optional>
#include <tuple>
#include <typeinfo>
#include <utility>
#include <vector>

#include <torch/optim/adagrad.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/lbfgs.h>
#include <torch/optim/rmsprop.h>
#include <torch/optim/sgd.h>

#include <accelerators/error.h>
#include <fabric/optim/fused_optimizer.h>
#include <fabric/optim/named_options.h>

namespace fabric::detail {
namespace {

using Options = OptimizerFields::Options;
using ParamState = OptimizerFields::ParamState;

template <class T, class Set>
void take(const StateDict& from, const char* key, Set&& set) {
  if (const StateValue* value = from.find(key)) {
    try {
      // A learning rate may be a tensor of one element.
      if constexpr (std::is_same_v<T, double>) {
        set(value->is_tensor() ? value->tensor().template item<double>() : value->as<double>());
      } else {
        set(value->as<T>());
      }
    } catch (const CheckpointError& error) {
      throw CheckpointError(str("option '", key, "': ", error.what()));
    }
  }
}

// What LibTorch's class leaves out must be off in the file, or the run would go on differently.
void refuse(const StateDict& from, const char* key, bool expected, const char* cure) {
  const StateValue* value = from.find(key);
  if (value != nullptr && value->is_bool() && value->as<bool>() != expected) {
    throw CheckpointError(
        str("got ", key, "=", !expected, ", which this optimizer does not do", cure));
  }
}

/// What Python's optimizers expect in a group beside their own options, with the values that mean
/// what LibTorch does.
void append_python_defaults(StateDict& group, std::initializer_list<const char*> off,
                            bool has_fused) {
  for (const char* name : off) {
    group.set(name, false);
  }
  group.set("foreach", StateValue());
  if (has_fused) {
    group.set("fused", StateValue());
  }
}

/// @tparam Class says how a class of LibTorch's reads its options and state
template <class Class>
class LibTorchFields final : public OptimizerFields {
  using OwnOptions = typename Class::Options;
  using OwnState = typename Class::State;

 public:
  StateDict options(const Options& options) const override {
    return Class::options(static_cast<const OwnOptions&>(options));
  }
  void set_options(Options& options, const StateDict& from) const override {
    Class::set_options(static_cast<OwnOptions&>(options), from);
  }
  std::unique_ptr<ParamState> make_state() const override { return std::make_unique<OwnState>(); }
  void visit_tensors(ParamState& state, const TensorVisitor& visit) const override {
    Class::visit(static_cast<OwnState&>(state), visit);
  }
  std::int64_t step(const ParamState& state) const override {
    if constexpr (requires(const OwnState& own) { own.step(); }) {
      return static_cast<const OwnState&>(state).step();
    } else {
      return -1;
    }
  }
  void set_step(ParamState& state, std::int64_t step) const override {
    if constexpr (requires(OwnState& own) { own.step(step); }) {
      static_cast<OwnState&>(state).step(step);
    }
  }
};

template <class AdamOptions, class AdamState, bool kDecoupled>
struct AdamLike {
  using Options = AdamOptions;
  using State = AdamState;

  static StateDict options(const Options& own) {
    const auto [beta1, beta2] = own.betas();
    StateDict group{{"lr", own.lr()},
                    {"betas", StateList({beta1, beta2}, StateList::Kind::tuple)},
                    {"eps", own.eps()},
                    {"weight_decay", own.weight_decay()},
                    {"amsgrad", own.amsgrad()}};
    append_python_defaults(group, {"maximize", "capturable", "differentiable"}, true);
    group.set("decoupled_weight_decay", kDecoupled);
    return group;
  }
  static void set_options(Options& own, const StateDict& from) {
    refuse(from, "maximize", false, ". Hint: fabric::FusedAdam and FusedAdamW do.");
    refuse(from, "decoupled_weight_decay", kDecoupled,
           kDecoupled ? ": it is Adam's. Hint: load it into Adam."
                      : ": it is AdamW's. Hint: load it into AdamW.");
    take<double>(from, "lr", [&](double value) { own.lr(value); });
    take<std::pair<double, double>>(from, "betas", [&](std::pair<double, double> value) {
      own.betas(std::make_tuple(value.first, value.second));
    });
    take<double>(from, "eps", [&](double value) { own.eps(value); });
    take<double>(from, "weight_decay", [&](double value) { own.weight_decay(value); });
    take<bool>(from, "amsgrad", [&](bool value) { own.amsgrad(value); });
  }
  template <class Visit>
  static void visit(State& own, Visit&& visit) {
    visit("exp_avg", own.exp_avg());
    visit("exp_avg_sq", own.exp_avg_sq());
    visit("max_exp_avg_sq", own.max_exp_avg_sq());
  }
};

struct SGDLike {
  using Options = torch::optim::SGDOptions;
  using State = torch::optim::SGDParamState;

  static StateDict options(const Options& own) {
    StateDict group{{"lr", own.lr()},
                    {"momentum", own.momentum()},
                    {"dampening", own.dampening()},
                    {"weight_decay", own.weight_decay()},
                    {"nesterov", own.nesterov()}};
    append_python_defaults(group, {"maximize", "differentiable"}, true);
    return group;
  }
  static void set_options(Options& own, const StateDict& from) {
    refuse(from, "maximize", false, ". Hint: fabric::FusedSGD does.");
    take<double>(from, "lr", [&](double value) { own.lr(value); });
    take<double>(from, "momentum", [&](double value) { own.momentum(value); });
    take<double>(from, "dampening", [&](double value) { own.dampening(value); });
    take<double>(from, "weight_decay", [&](double value) { own.weight_decay(value); });
    take<bool>(from, "nesterov", [&](bool value) { own.nesterov(value); });
  }
  template <class Visit>
  static void visit(State& own, Visit&& visit) {
    visit("momentum_buffer", own.momentum_buffer());
  }
};

struct RMSpropLike {
  using Options = torch::optim::RMSpropOptions;
  using State = torch::optim::RMSpropParamState;

  static StateDict options(const Options& own) {
    StateDict group{
        {"lr", own.lr()},   {"momentum", own.momentum()}, {"alpha", own.alpha()},
        {"eps", own.eps()}, {"centered", own.centered()}, {"weight_decay", own.weight_decay()}};
    append_python_defaults(group, {"maximize", "capturable", "differentiable"}, false);
    return group;
  }
  static void set_options(Options& own, const StateDict& from) {
    refuse(from, "maximize", false, "");
    take<double>(from, "lr", [&](double value) { own.lr(value); });
    take<double>(from, "momentum", [&](double value) { own.momentum(value); });
    take<double>(from, "alpha", [&](double value) { own.alpha(value); });
    take<double>(from, "eps", [&](double value) { own.eps(value); });
    take<bool>(from, "centered", [&](bool value) { own.centered(value); });
    take<double>(from, "weight_decay", [&](double value) { own.weight_decay(value); });
  }
  template <class Visit>
  static void visit(State& own, Visit&& visit) {
    visit("square_avg", own.square_avg());
    visit("momentum_buffer", own.momentum_buffer());
    visit("grad_avg", own.grad_avg());
  }
};

struct AdagradLike {
  using Options = torch::optim::AdagradOptions;
  using State = torch::optim::AdagradParamState;

  static StateDict options(const Options& own) {
    StateDict group{{"lr", own.lr()},
                    {"lr_decay", own.lr_decay()},
                    {"eps", own.eps()},
                    {"weight_decay", own.weight_decay()},
                    {"initial_accumulator_value", own.initial_accumulator_value()}};
    append_python_defaults(group, {"maximize", "differentiable"}, true);
    return group;
  }
  static void set_options(Options& own, const StateDict& from) {
    refuse(from, "maximize", false, ". Hint: fabric::FusedAdagrad does.");
    take<double>(from, "lr", [&](double value) { own.lr(value); });
    take<double>(from, "lr_decay", [&](double value) { own.lr_decay(value); });
    take<double>(from, "eps", [&](double value) { own.eps(value); });
    take<double>(from, "weight_decay", [&](double value) { own.weight_decay(value); });
    take<double>(from, "initial_accumulator_value",
                 [&](double value) { own.initial_accumulator_value(value); });
  }
  template <class Visit>
  static void visit(State& own, Visit&& visit) {
    visit("sum", own.sum());
  }
};

// Looks at all parameters together; its state is that of the first.
class LBFGSFields final : public OptimizerFields {
  using OwnOptions = torch::optim::LBFGSOptions;
  using OwnState = torch::optim::LBFGSParamState;

 public:
  StateDict options(const Options& options) const override {
    const auto& own = static_cast<const OwnOptions&>(options);
    return {{"lr", own.lr()},
            {"max_iter", own.max_iter()},
            {"max_eval", to_state(own.max_eval())},
            {"tolerance_grad", own.tolerance_grad()},
            {"tolerance_change", own.tolerance_change()},
            {"history_size", own.history_size()},
            {"line_search_fn", to_state(own.line_search_fn())}};
  }
  void set_options(Options& options, const StateDict& from) const override {
    auto& own = static_cast<OwnOptions&>(options);
    take<double>(from, "lr", [&](double value) { own.lr(value); });
    take<std::int64_t>(from, "max_iter", [&](std::int64_t value) { own.max_iter(value); });
    take<std::optional<std::int64_t>>(from, "max_eval", [&](auto value) { own.max_eval(value); });
    take<double>(from, "tolerance_grad", [&](double value) { own.tolerance_grad(value); });
    take<double>(from, "tolerance_change", [&](double value) { own.tolerance_change(value); });
    take<std::int64_t>(from, "history_size", [&](std::int64_t value) { own.history_size(value); });
    take<std::optional<std::string>>(from, "line_search_fn",
                                     [&](auto value) { own.line_search_fn(std::move(value)); });
  }
  std::unique_ptr<ParamState> make_state() const override { return std::make_unique<OwnState>(); }
  void visit_tensors(ParamState&, const TensorVisitor&) const override {}
  std::int64_t step(const ParamState&) const override { return -1; }
  void set_step(ParamState&, std::int64_t) const override {}

  StateDict others(const ParamState& state) const override {
    const auto& own = static_cast<const OwnState&>(state);
    const auto list = [](const std::deque<at::Tensor>& tensors) {
      StateList values;
      for (const at::Tensor& tensor : tensors) {
        values.push_back(tensor);
      }
      return values;
    };
    // Without `al`, which each step makes anew.
    return {{"func_evals", own.func_evals()},
            {"n_iter", own.n_iter()},
            {"d", own.d()},
            {"t", own.t()},
            {"old_dirs", list(own.old_dirs())},
            {"old_stps", list(own.old_stps())},
            {"ro", list(own.ro())},
            {"H_diag", own.H_diag()},
            {"prev_flat_grad", own.prev_flat_grad()},
            {"prev_loss", own.prev_loss()}};
  }
  void set_others(ParamState& state, const StateDict& from) const override {
    auto& own = static_cast<OwnState&>(state);
    // In memory of their own: the file may be gone when the next step reads them.
    const auto tensor = [&](const char* key) {
      const StateValue& value = from[key];
      return value.is_none()     ? at::Tensor()
             : value.is_tensor() ? value.stored().clone()
                                 : at::scalar_tensor(value.as<double>());
    };
    const auto list = [&](const char* key) {
      std::deque<at::Tensor> tensors;
      for (const StateValue& value : from[key].list()) {
        tensors.push_back(value.stored().clone());
      }
      return tensors;
    };
    own.func_evals(from["func_evals"].as<std::int64_t>());
    own.n_iter(from["n_iter"].as<std::int64_t>());
    own.d(tensor("d"));
    own.t(from["t"].as<double>());
    own.old_dirs(list("old_dirs"));
    own.old_stps(list("old_stps"));
    own.ro(list("ro"));
    own.H_diag(tensor("H_diag"));
    own.prev_flat_grad(tensor("prev_flat_grad"));
    own.prev_loss(from["prev_loss"].as<double>());
  }
};

/// The toolkit's own; they say their fields themselves.
class FusedFields final : public OptimizerFields {
 public:
  explicit FusedFields(const FusedOptimizer& optimizer) : optimizer_(&optimizer) {}

  StateDict options(const Options& options) const override {
    StateDict group = dynamic_cast<const NamedOptions&>(options).state_dict();
    append_python_defaults(group, {"capturable", "differentiable"}, true);
    if (const std::optional<bool> decoupled = optimizer_->decoupled_weight_decay()) {
      group.set("decoupled_weight_decay", *decoupled);
    }
    return group;
  }
  void set_options(Options& options, const StateDict& from) const override {
    if (const std::optional<bool> decoupled = optimizer_->decoupled_weight_decay()) {
      refuse(from, "decoupled_weight_decay", *decoupled,
             *decoupled ? ": it is Adam's. Hint: load it into Adam."
                        : ": it is AdamW's. Hint: load it into AdamW.");
    }
    dynamic_cast<NamedOptions&>(options).load_state_dict(from);
  }
  std::unique_ptr<ParamState> make_state() const override { return optimizer_->own_state(nullptr); }
  void visit_tensors(ParamState& state, const TensorVisitor& visit) const override {
    auto& own = static_cast<FusedParamState&>(state);
    std::size_t i = 0;
    own.visit_tensors([&](at::Tensor& tensor) { visit(own.layout().names[i++], tensor); });
  }
  std::int64_t step(const ParamState& state) const override {
    const auto& own = static_cast<const FusedParamState&>(state);
    return own.layout().counts_steps ? own.step() : -1;
  }
  void set_step(ParamState& state, std::int64_t step) const override {
    static_cast<FusedParamState&>(state).set_step(step);
  }

 private:
  const FusedOptimizer* optimizer_;
};

template <class Class>
const OptimizerFields* fields_of() {
  static const LibTorchFields<Class> fields;
  return &fields;
}

}  // namespace

std::shared_ptr<const OptimizerFields> optimizer_fields(torch::optim::Optimizer& optimizer) {
  using namespace torch::optim;
  const auto known = [](const OptimizerFields* fields) {
    return std::shared_ptr<const OptimizerFields>(std::shared_ptr<void>(), fields);
  };
  if (auto* fused = dynamic_cast<FusedOptimizer*>(&optimizer)) {
    fused->check_groups();  // those that came since may still have LibTorch's options
    return std::make_shared<FusedFields>(*fused);
  }
  const auto& type = typeid(optimizer);
  if (type == typeid(Adam)) {
    return known(fields_of<AdamLike<AdamOptions, AdamParamState, false>>());
  }
  if (type == typeid(AdamW)) {
    return known(fields_of<AdamLike<AdamWOptions, AdamWParamState, true>>());
  }
  if (type == typeid(SGD)) {
    return known(fields_of<SGDLike>());
  }
  if (type == typeid(LBFGS)) {
    static const LBFGSFields fields;
    return known(&fields);
  }
  if (type == typeid(RMSprop)) {
    return known(fields_of<RMSpropLike>());
  }
  if (type == typeid(Adagrad)) {
    return known(fields_of<AdagradLike>());
  }
  return nullptr;
}

}  // namespace fabric::detail
