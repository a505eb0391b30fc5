#include <fabric/config/types/durations.h>

#include <cmath>
#include <string>

#include <accelerators/text.h>
#include <fabric/config/tree/node.h>
#include <fabric/config/types/words.h>

namespace fabric::config::detail {
namespace {

struct Unit {
  std::string_view name;
  double seconds;
};

// Longest first: a duration is written in the first that it is a whole number of.
constexpr Unit kUnits[] = {{"d", 86400}, {"h", 3600},  {"min", 60}, {"s", 1},
                           {"ms", 1e-3}, {"us", 1e-6}, {"ns", 1e-9}};
// Above, doubles leave out whole numbers.
constexpr double kMostTicks = 9007199254740992.0;

double unit_of(std::string_view name) {
  for (const Unit& unit : kUnits) {
    if (unit.name == name) {
      return unit.seconds;
    }
  }
  return 0;
}

// Divides so that tenths of seconds are whole milliseconds.
double quotient(double a, double b) {
  const double value = b < 1 ? a * std::round(1 / b) : a / b;
  const double whole = std::round(value);
  return std::abs(value - whole) <= 1e-12 * std::abs(whole) ? whole : value;
}

std::string read_duration(const ScalarType& scalar_type, void* value, const Node& node) {
  const auto& type = static_cast<const DurationType&>(scalar_type);
  if (std::string wrong = check_scalar(node, type.name); !wrong.empty()) {
    return wrong;
  }
  const std::string_view text = word_of(node);
  const std::size_t end = text.find_last_of("0123456789.") + 1;
  const std::string_view name = fabric::detail::trim(text.substr(end));
  const std::optional<double> number = real_of(fabric::detail::trim(text.substr(0, end)));
  if (number && name.empty() && *number != 0) {
    return misread(node, type.name, "write the unit: " + std::string(text) + "s.");
  }
  const double unit = name.empty() ? 1 : unit_of(name);
  if (!number || unit == 0) {
    return misread(node, type.name, name == "m" ? "min for minutes, ms for thousandths." : "");
  }
  const double ticks = quotient(*number * unit, type.seconds);
  if (std::abs(ticks) > kMostTicks) {
    return "out of range; " + misread(node, type.name);
  }
  if (type.whole && ticks != std::round(ticks)) {
    return "not whole; " + misread(node, "a duration in steps of " + shortest(type.seconds) + " s");
  }
  type.store(value, ticks);
  return {};
}

Node write_duration(const ScalarType& scalar_type, const void* value) {
  const auto& type = static_cast<const DurationType&>(scalar_type);
  const double ticks = type.load(value);
  for (const Unit& unit : kUnits) {
    const double count = quotient(ticks * type.seconds, unit.seconds);
    if (count == std::round(count) && std::abs(count) < kMostTicks) {
      return Node::scalar(std::to_string(static_cast<std::int64_t>(count)) +
                              std::string(ticks == 0 ? "s" : unit.name),
                          Node::Style::quoted);
    }
  }
  return Node::scalar(shortest(ticks * type.seconds) + "s", Node::Style::quoted);
}

}  // namespace

DurationType::DurationType(double seconds, bool whole, double (*load)(const void*),
                           void (*store)(void*, double))
    : ScalarType{{Kind::scalar}, "duration (90s, 1.5h, 250ms)", read_duration, write_duration},
      seconds(seconds),
      whole(whole),
      load(load),
      store(store) {}

}  // namespace fabric::config::detail
