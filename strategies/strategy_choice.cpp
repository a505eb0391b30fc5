#include <strategies/strategy_choice.h>

#include <cmath>
#include <cstdlib>

#include <accelerators/error.h>

namespace fabric {
namespace {

/// Reads a whole number with or without a fraction; NaN if it is anything else.
double parse_number(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  return end == text.c_str() || *end != '\0' ? std::nan("") : value;
}

/// The shortest decimal that reads back as the same number.
std::string shortest(double value) {
  for (int digits = 1; digits <= 17; ++digits) {
    std::ostringstream out;
    out.precision(digits);
    out << value;
    if (parse_number(out.str()) == value) {
      return out.str();
    }
  }
  return {};
}

}  // namespace

void StrategyChoice::validate(std::string_view source) const {
  FABRIC_CHECK(
      Misconfiguration, std::isfinite(ddp_.bucket_mb) && ddp_.bucket_mb > 0,
      "[fabric.strategy] the bucket size of ddp is not positive; got bucket_mb=", ddp_.bucket_mb,
      detail::from(source), "; expected MiB greater than 0. Hint: leave it out for 25.");
}

void StrategyChoice::set_option(std::string_view assignment, std::string_view source) {
  const std::size_t equals = assignment.find('=');
  const std::string_view key = detail::trim(assignment.substr(0, equals));
  const std::string value(
      equals == std::string_view::npos ? "" : detail::trim(assignment.substr(equals + 1)));
  if (key == "bucket_mb") {
    ddp_.bucket_mb = parse_number(value);
    FABRIC_CHECK(Misconfiguration, !std::isnan(ddp_.bucket_mb),
                 "[fabric.strategy] the bucket size of ddp is not a number; got '", assignment, "'",
                 detail::from(source), "; expected MiB, such as bucket_mb=25");
    return;
  }
  bool* flag = key == "broadcast_buffers" ? &ddp_.broadcast_buffers
               : key == "average"         ? &ddp_.average
                                          : nullptr;
  FABRIC_CHECK(Misconfiguration, flag != nullptr, "[fabric.strategy] unknown option of ddp; got '",
               assignment, "'", detail::from(source),
               "; expected bucket_mb, broadcast_buffers or average, each with =value");
  FABRIC_CHECK(Misconfiguration, value == "true" || value == "false",
               "[fabric.strategy] an option of ddp is neither true nor false; got '", assignment,
               "'", detail::from(source), "; expected ", key, "=true or ", key, "=false");
  *flag = value == "true";
}

StrategyChoice StrategyChoice::from_text(std::string_view text, std::string_view source) {
  const std::string lower = detail::to_lower(detail::trim(text));
  std::string_view rest = lower;
  const std::size_t open = rest.find('(');
  const std::string_view name = detail::trim(rest.substr(0, open));
  FABRIC_CHECK(Misconfiguration, !name.empty(), "[fabric.strategy] the name is empty; got '", text,
               "'", detail::from(source),
               "; expected auto, single_device, ddp or the name of a registered strategy");
  StrategyChoice choice;
  choice.name_ = detail::intern(name);
  if (open == std::string_view::npos) {
    return choice;
  }
  FABRIC_CHECK(Misconfiguration, name == "ddp" && rest.ends_with(')'),
               "[fabric.strategy] options that cannot be read; got '", text, "'",
               detail::from(source),
               "; expected a name, or the options of ddp in parentheses: ddp(bucket_mb=25)");
  rest = rest.substr(open + 1, rest.size() - open - 2);
  while (!detail::trim(rest).empty()) {
    const std::size_t comma = rest.find(',');
    choice.set_option(detail::trim(rest.substr(0, comma)), source);
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
  }
  choice.validate(source);
  return choice;
}

std::string StrategyChoice::to_text() const {
  constexpr DDPOptions kDefaults;
  std::string options;
  const auto add = [&](const std::string& option) {
    options += (options.empty() ? "" : ", ") + option;
  };
  if (ddp_.bucket_mb != kDefaults.bucket_mb) {
    add("bucket_mb=" + shortest(ddp_.bucket_mb));
  }
  if (ddp_.broadcast_buffers != kDefaults.broadcast_buffers) {
    add(std::string("broadcast_buffers=") + (ddp_.broadcast_buffers ? "true" : "false"));
  }
  if (ddp_.average != kDefaults.average) {
    add(std::string("average=") + (ddp_.average ? "true" : "false"));
  }
  return std::string(name_) + (options.empty() ? "" : "(" + options + ")");
}

}  // namespace fabric
