#include <strategies/unit_choice.h>

#include <algorithm>
#include <deque>
#include <map>
#include <mutex>

#include <accelerators/error.h>

namespace fabric {

struct UnitChoice::Rule {
  std::vector<std::string> names;
  UnitPredicate predicate;
};

UnitChoice::UnitChoice(const std::vector<std::string>& names) {
  FABRIC_CHECK(
      Misconfiguration,
      !names.empty() && std::none_of(names.begin(), names.end(),
                                     [](const std::string& name) { return name.empty(); }),
      "[fabric.strategy] units of fsdp without a name; got ", names.size(),
      " names; expected classes or dotted names of modules, such as {\"Block\", \"head\"}. ",
      "Hint: leave units out for \"auto\".");
  static std::mutex mutex;
  static auto& known = *new std::map<std::vector<std::string>, const Rule*>;
  const std::lock_guard lock(mutex);
  const Rule*& rule = known[names];
  if (rule == nullptr) {
    rule = new Rule{names, {}};
  }
  rule_ = rule;
}

UnitChoice::UnitChoice(std::initializer_list<const char*> names)
    : UnitChoice(std::vector<std::string>(names.begin(), names.end())) {}

UnitChoice::UnitChoice(UnitPredicate predicate) {
  FABRIC_CHECK(Misconfiguration, predicate != nullptr,
               "[fabric.strategy] the predicate of units_where is empty");
  static std::mutex mutex;
  static auto& kept = *new std::deque<Rule>;  // where leak checkers see that they are held
  const std::lock_guard lock(mutex);
  rule_ = &kept.emplace_back(Rule{{}, std::move(predicate)});
}

UnitChoice UnitChoice::from_text(std::string_view text, std::string_view source) {
  const std::string_view trimmed = detail::trim(text);
  if (trimmed == "auto") {
    return {};
  }
  std::vector<std::string> names;
  for (std::size_t begin = 0; begin <= trimmed.size();) {
    const std::size_t plus = std::min(trimmed.find('+', begin), trimmed.size());
    names.emplace_back(detail::trim(trimmed.substr(begin, plus - begin)));
    FABRIC_CHECK(Misconfiguration, !names.back().empty(),
                 "[fabric.strategy] units of fsdp that cannot be read; got '", text, "'",
                 detail::from(source),
                 "; expected auto, or classes and names of modules: ", "Block+head");
    begin = plus + 1;
  }
  return UnitChoice(names);
}

std::string UnitChoice::to_text() const {
  if (rule_ == nullptr) {
    return "auto";
  }
  if (rule_->predicate) {
    return "custom";
  }
  std::string text;
  for (const std::string& name : rule_->names) {
    text += (text.empty() ? "" : "+") + name;
  }
  return text;
}

bool UnitChoice::matches(const std::string& name, const std::string& class_name,
                         const torch::nn::Module* module) const {
  if (rule_->predicate) {
    return module != nullptr && rule_->predicate(name, *module);
  }
  return std::any_of(rule_->names.begin(), rule_->names.end(), [&](const std::string& wanted) {
    return wanted == name || wanted == class_name;
  });
}

}  // namespace fabric
