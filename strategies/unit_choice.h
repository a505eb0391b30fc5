// The `units` option of fsdp: which parameters are gathered and freed together.
#pragma once

#include <concepts>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include <accelerators/text.h>

namespace torch::nn {
class Module;
}

namespace fabric {

/// What is asked about each module of a model: its dotted name ("blocks.0") and the module.
using UnitPredicate = std::function<bool(const std::string& name, const torch::nn::Module& module)>;

/// Which modules are units. The parameters of a unit lie in one flat storage, are gathered when one
/// of them is used and freed together. What no unit holds is cut by size, in the order of the
/// model. Parameters of another dtype, and frozen ones, form units of their own.
///
/// | value | units |
/// |---|---|
/// | `"auto"` (default) | each element of a ModuleList or Sequential, the outermost where they are
/// nested; small neighbours (below 1 MiB) together |
/// | `{"Block", "head"}` | the modules of these classes or with these names; in text `Block+head` |
/// | `units_of<BlockImpl>()` | the modules of these classes |
/// | `units_where(predicate)` | the modules for which it is true; the same on all ranks |
///
/// Nested units are units of their own, without the parameters of the inner one in the outer.
class UnitChoice {
 public:
  constexpr UnitChoice() = default;
  template <std::size_t N>
  consteval UnitChoice(const char (&text)[N]) {
    if (std::string_view(text, N - 1) != "auto") {
      throw "units: expected \"auto\", {\"Block\", \"head\"}, units_of<BlockImpl>() or "
            "units_where(predicate)";
    }
  }
  UnitChoice(std::initializer_list<const char*> names);
  UnitChoice(const std::vector<std::string>& names);
  explicit UnitChoice(UnitPredicate predicate);

  /// Reads "auto" or "Block+head".
  static UnitChoice from_text(std::string_view text, std::string_view source = {});
  /// A text that from_text() reads as the same value; "custom" for a predicate, which has none.
  std::string to_text() const;

  constexpr bool is_auto() const { return rule_ == nullptr; }
  /// Whether a module is a unit of its own; not for "auto".
  /// @param class_name without namespace and "Impl"
  /// @param module null for modules that are no torch::nn::Module (TorchScript)
  bool matches(const std::string& name, const std::string& class_name,
               const torch::nn::Module* module) const;

  friend constexpr bool operator==(const UnitChoice&, const UnitChoice&) = default;

 private:
  struct Rule;
  const Rule* rule_ = nullptr;  // interned: valid for ever, the same for the same names
};

/// Units by a predicate. Each call makes a choice of its own; it is kept until the program ends.
inline UnitChoice units_where(UnitPredicate predicate) {
  return UnitChoice(std::move(predicate));
}

/// Every module of one of these classes is a unit.
template <class... Modules>
UnitChoice units_of() {
  static const UnitChoice choice = units_where([](const std::string&, const auto& module) {
    return (... || (dynamic_cast<const Modules*>(&module) != nullptr));
  });
  return choice;
}

}  // namespace fabric
