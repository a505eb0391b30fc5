// Options of a fused optimizer, a plain aggregate each, in the form LibTorch's groups want.
#pragma once

#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <torch/optim/optimizer.h>
#include <torch/serialize/archive.h>

#include <boost/pfr.hpp>

#include <accelerators/error.h>
#include <fabric/optim/named_options.h>

namespace fabric {

namespace detail {

/// @param name what the text calls the option ("the learning rate")
/// @throws MisconfigurationError for a negative number
inline void check_not_negative(double value, const char* name) {
  FABRIC_CHECK(Misconfiguration, value >= 0, "[fabric.optimizer] ", name, " is negative; got ",
               value);
}
inline void check_betas(std::pair<double, double> betas) {
  const auto [beta1, beta2] = betas;
  FABRIC_CHECK(Misconfiguration, beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1,
               "[fabric.optimizer] betas out of range; got ", beta1, " and ", beta2,
               "; expected 0 or more, and less than 1");
}

}  // namespace detail

/// The options of one group. Schedulers read and set `lr` through it.
/// @tparam Values the optimizer's options (FusedAdamWOptions): fields `lr` and `lr_tensor` among
///         others, written to archives under their names
template <class Values>
class FusedGroupOptions final
    : public torch::optim::OptimizerCloneableOptions<FusedGroupOptions<Values>>,
      public NamedOptions {
 public:
  explicit FusedGroupOptions(Values initial) : values(std::move(initial)) {}
  explicit FusedGroupOptions(double lr) { values.lr = lr; }

  double get_lr() const override {
    return values.lr_tensor.defined() ? values.lr_tensor.template item<double>() : values.lr;
  }
  void set_lr(const double lr) override {
    values.lr = lr;
    if (values.lr_tensor.defined()) {
      const at::NoGradGuard no_grad;
      values.lr_tensor.fill_(lr);
    }
  }

  void serialize(torch::serialize::InputArchive& archive) override {
    each_field(values, [&](const std::string& name, auto& field) {
      c10::IValue value;
      if (!archive.try_read(name, value)) {
        return;  // LibTorch's files have fewer
      }
      using Field = std::remove_cvref_t<decltype(field)>;
      if constexpr (std::is_same_v<Field, std::pair<double, double>>) {
        const auto& elements = value.toTupleRef().elements();
        field = {elements.at(0).toDouble(), elements.at(1).toDouble()};
      } else {
        field = value.to<Field>();
      }
    });
  }
  void serialize(torch::serialize::OutputArchive& archive) const override {
    each_field(values, [&](const std::string& name, const auto& field) {
      using Field = std::remove_cvref_t<decltype(field)>;
      if constexpr (std::is_same_v<Field, std::pair<double, double>>) {
        archive.write(name, c10::IValue(std::make_tuple(field.first, field.second)));
      } else if constexpr (std::is_same_v<Field, at::Tensor>) {
        if (field.defined()) {
          archive.write(name, c10::IValue(field));
        }
      } else {
        archive.write(name, c10::IValue(field));
      }
    });
  }

  /// The rate stands under `lr`, wherever it lies.
  StateDict state_dict() const override {
    StateDict state;
    each_field(values, [&](const std::string& name, const auto& field) {
      if (name == "lr") {
        state.append(name, get_lr());
      } else if (name != "lr_tensor") {
        state.append(name, to_state(field));
      }
    });
    return state;
  }
  void load_state_dict(const StateDict& from) override {
    each_field(values, [&](const std::string& name, auto& field) {
      const StateValue* value = from.find(name);
      if (value == nullptr || name == "lr_tensor") {
        return;
      }
      if (name == "lr") {
        set_lr(value->is_tensor() ? value->tensor().template item<double>()
                                  : value->template as<double>());
      } else {
        field = value->template as<std::remove_cvref_t<decltype(field)>>();
      }
    });
  }

  Values values;

 private:
  template <class Aggregate, class Visit>
  static void each_field(Aggregate& aggregate, Visit&& visit) {
    constexpr auto names = boost::pfr::names_as_array<Values>();
    boost::pfr::for_each_field(
        aggregate, [&](auto& field, std::size_t i) { visit(std::string(names[i]), field); });
  }
};

/// Parameters with options of their own.
///
///     fabric::FusedAdamW optimizer({
///         fabric::parameter_group(net->body->parameters(), fabric::FusedAdamWOptions{.lr = 1e-4}),
///         fabric::parameter_group(net->head->parameters(), fabric::FusedAdamWOptions{.lr =
///         1e-3})});
template <class Values>
torch::optim::OptimizerParamGroup parameter_group(std::vector<at::Tensor> parameters,
                                                  Values options) {
  return {std::move(parameters), std::make_unique<FusedGroupOptions<Values>>(std::move(options))};
}

namespace detail {

/// The same for options that are a fused optimizer's already.
template <class Values>
const Values& values_of(const torch::optim::OptimizerOptions& options) {
  return static_cast<const FusedGroupOptions<Values>&>(options).values;
}

}  // namespace detail
}  // namespace fabric
