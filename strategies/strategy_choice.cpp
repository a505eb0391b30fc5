#include <strategies/strategy_choice.h>

#include <array>
#include <charconv>
#include <cmath>
#include <string>
#include <system_error>
#include <vector>

#include <accelerators/error.h>

namespace fabric {
namespace {

/// Reads a decimal number, in any locale with a point; NaN if the text is anything else.
double parse_number(const std::string& text) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stop == end ? value : std::nan("");
}

/// The shortest decimal that reads back as the same number.
std::string shortest(double value) {
  std::array<char, 32> text;
  const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), value);
  return {text.data(), end};
}

// The options of a strategy under their names: how text becomes a field and back.
template <class Visit>
void visit_options(auto& choice_ddp, auto& choice_fsdp, std::string_view strategy, Visit&& visit) {
  if (strategy == "ddp") {
    visit("bucket_mb", choice_ddp.bucket_mb);
    visit("broadcast_buffers", choice_ddp.broadcast_buffers);
    visit("average", choice_ddp.average);
    visit("reduce_dtype", choice_ddp.reduce_dtype);
  } else if (strategy == "fsdp") {
    visit("sharding", choice_fsdp.sharding);
    visit("replicas", choice_fsdp.replicas);
    visit("units", choice_fsdp.units);
    visit("prefetch", choice_fsdp.prefetch);
    visit("accumulation", choice_fsdp.accumulation);
    visit("param_dtype", choice_fsdp.param_dtype);
    visit("reduce_dtype", choice_fsdp.reduce_dtype);
    visit("buffer_dtype", choice_fsdp.buffer_dtype);
    visit("output_dtype", choice_fsdp.output_dtype);
    visit("cpu_offload", choice_fsdp.cpu_offload);
    visit("broadcast_buffers", choice_fsdp.broadcast_buffers);
  }
}

void read_option(double& field, const std::string& value, const std::string& where) {
  field = parse_number(value);
  FABRIC_CHECK(Misconfiguration, !std::isnan(field), "[fabric.strategy] ", where,
               " is not a number; got '", value, "'; expected a number such as 25");
}
void read_option(int& field, const std::string& value, const std::string& where) {
  const double number = parse_number(value);
  FABRIC_CHECK(Misconfiguration, number == std::floor(number) && std::abs(number) < 1e9,
               "[fabric.strategy] ", where, " is not a whole number; got '", value,
               "'; expected a number such as 1");
  field = static_cast<int>(number);
}
void read_option(bool& field, const std::string& value, const std::string& where) {
  FABRIC_CHECK(Misconfiguration, value == "true" || value == "false", "[fabric.strategy] ", where,
               " is neither true nor false; got '", value, "'");
  field = value == "true";
}
void read_option(UnitChoice& field, const std::string& value, const std::string& where) {
  field = UnitChoice::from_text(value, where);
}

template <class Set>
void read_option(NamedChoice<Set>& field, const std::string& value, const std::string& where) {
  field = NamedChoice<Set>::from_text(value, where);
}

std::string option_text(double field) {
  return shortest(field);
}
std::string option_text(int field) {
  return std::to_string(field);
}
std::string option_text(bool field) {
  return field ? "true" : "false";
}
template <class Choice>
  requires requires(const Choice& choice) { choice.to_text(); }
std::string option_text(const Choice& field) {
  return field.to_text();
}

}  // namespace

void StrategyChoice::validate(std::string_view source) const {
  FABRIC_CHECK(
      Misconfiguration, std::isfinite(ddp_.bucket_mb) && ddp_.bucket_mb > 0,
      "[fabric.strategy] the bucket size of ddp is not positive; got bucket_mb=", ddp_.bucket_mb,
      detail::from(source), "; expected MiB greater than 0. Hint: leave it out for 25.");
  FABRIC_CHECK(Misconfiguration, fsdp_.prefetch >= 0,
               "[fabric.strategy] fsdp cannot gather a negative number of units ahead; got ",
               "prefetch=", fsdp_.prefetch, detail::from(source),
               "; expected 0 or more. Hint: leave it out for 1.");
  FABRIC_CHECK(Misconfiguration, fsdp_.replicas >= 0,
               "[fabric.strategy] fsdp cannot keep a negative number of copies of the model; got ",
               "replicas=", fsdp_.replicas, detail::from(source),
               "; expected 0 or more. Hint: leave it out for what the sharding implies.");
}

void StrategyChoice::set_option(std::string_view assignment, std::string_view source) {
  const std::size_t equals = assignment.find('=');
  const std::string_view key = detail::trim(assignment.substr(0, equals));
  const std::string value(
      equals == std::string_view::npos ? "" : detail::trim(assignment.substr(equals + 1)));
  std::vector<std::string> known;
  bool found = false;
  visit_options(ddp_, fsdp_, name_, [&](const char* name, auto& field) {
    known.push_back(std::string(name) + "=…");
    if (key == name) {
      found = true;
      read_option(field, value,
                  detail::str("the option ", name, " of ", name_, detail::from(source)));
    }
  });
  FABRIC_CHECK(Misconfiguration, found, "[fabric.strategy] unknown option of ", name_, "; got '",
               assignment, "'", detail::from(source), "; expected ", detail::list_or(known));
}

StrategyChoice StrategyChoice::from_text(std::string_view text, std::string_view source) {
  std::string_view rest = detail::trim(text);
  const std::size_t open = rest.find('(');
  std::string name(detail::trim(rest.substr(0, open)));
  for (const std::string_view known : kNames) {
    if (detail::to_lower(name) == known) {
      name = known;
    }
  }
  FABRIC_CHECK(Misconfiguration, !name.empty(), "[fabric.strategy] the name is empty; got '", text,
               "'", detail::from(source), "; expected ", expected());
  StrategyChoice choice;
  choice.name_ = detail::intern(name);
  if (open == std::string_view::npos) {
    return choice;
  }
  FABRIC_CHECK(
      Misconfiguration, (name == "ddp" || name == "fsdp") && rest.ends_with(')'),
      "[fabric.strategy] options that cannot be read; got '", text, "'", detail::from(source),
      "; expected a name, or the options of ddp or fsdp in parentheses: ddp(bucket_mb=25)");
  rest = rest.substr(open + 1, rest.size() - open - 2);
  while (!detail::trim(rest).empty()) {
    const std::size_t comma = rest.find(',');
    choice.set_option(detail::trim(rest.substr(0, comma)), source);
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
  }
  choice.validate(source);
  return choice;
}

std::any StrategyChoice::options() const {
  if (name_ == "ddp") {
    return ddp_;
  }
  return name_ == "fsdp" ? std::any(fsdp_) : std::any();
}

std::string StrategyChoice::to_text() const {
  const StrategyChoice defaults;
  std::vector<std::string> usual;
  visit_options(defaults.ddp_, defaults.fsdp_, name_,
                [&](const char*, const auto& field) { usual.push_back(option_text(field)); });
  std::string options;
  auto next = usual.begin();
  visit_options(ddp_, fsdp_, name_, [&](const char* name, const auto& field) {
    if (const std::string text = option_text(field); text != *next++) {
      options += (options.empty() ? "" : ", ") + std::string(name) + "=" + text;
    }
  });
  return std::string(name_) + (options.empty() ? "" : "(" + options + ")");
}

}  // namespace fabric
