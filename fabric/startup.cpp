#include <fabric/startup.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include <accelerators/error.h>

namespace fabric {
namespace {

struct Row {
  std::string name, value, origin;
};

std::string join_ids(const std::vector<int>& ids) {
  std::string text;
  for (const int id : ids) {
    text += (text.empty() ? "" : ", ") + std::to_string(id);
  }
  return text;
}

// Path and value of a line of option_lines().
std::pair<std::string, std::string> cut(const std::string& line) {
  const std::size_t equals = line.find('=');
  return {line.substr(0, equals), equals == std::string::npos ? "" : line.substr(equals + 1)};
}

std::string next_line(const std::string& text, std::size_t& at) {
  const std::size_t end = std::min(text.find('\n', at), text.size());
  const std::string line = text.substr(at, end - at);
  at = std::min(end + 1, text.size());
  return line;
}

}  // namespace

std::string startup_table(const Plan& plan, const config::Resolved& resolved) {
  std::vector<Row> rows{
      {"processes",
       detail::str(plan.world_size, " on ", plan.num_nodes,
                   plan.num_nodes == 1 ? " node" : " nodes"),
       ""},
      {"accelerator",
       plan.accelerator == "cpu" ? "cpu" : plan.accelerator + " " + join_ids(plan.device_ids), ""},
      {"strategy", plan.strategy.to_text(), ""},
      {"precision", plan.precision.to_text(), ""}};
  for (const config::Option& option : resolved.options()) {
    if (option.changed) {
      rows.push_back({option.path, option.text, option.place.text()});
    }
  }
  std::size_t names = 0, values = 0;
  constexpr std::size_t kWidest = 40;  // longer values do not move the column
  for (const Row& row : rows) {
    names = std::max(names, row.name.size());
    if (!row.origin.empty()) {
      values = std::max(values, std::min(row.value.size(), kWidest));
    }
  }
  std::string text = "starting:";
  for (const Row& row : rows) {
    text += "\n  " + row.name + std::string(names + 2 - row.name.size(), ' ') + row.value;
    if (!row.origin.empty()) {
      text += std::string(values + 2 - std::min(row.value.size(), values), ' ') + row.origin;
    }
  }
  for (const std::string& link : resolved.skipped_links()) {
    text += "\n  skipped: the link " + link;
  }
  return text;
}

namespace detail {

std::string option_lines(const config::Resolved& resolved) {
  std::string lines;
  if (resolved) {
    for (const config::Option& option : resolved.options()) {
      lines += option.path + "=" + option.text + "\n";
    }
  }
  return lines;
}

std::string first_difference(const std::string& here, const std::string& first) {
  for (std::size_t a = 0, b = 0; a < here.size() || b < first.size();) {
    const std::string mine = next_line(here, a), other = next_line(first, b);
    if (mine == other) {
      continue;
    }
    const auto [path, value] = cut(mine);
    const auto [first_path, first_value] = cut(other);
    if (path != first_path) {
      return str("the programs have different options: '", path, "' here, '", first_path,
                 "' on rank 0");
    }
    return str(path, " is ", value, " here and ", first_value, " on rank 0");
  }
  return {};
}

void check_same_configuration(const config::Resolved& resolved, const Communicators& group) {
  const auto hash = static_cast<std::int64_t>(resolved ? resolved.hash() : 0);
  const auto least = all_reduce_number(group, hash, ReduceOp::min);
  const auto most = all_reduce_number(group, hash, ReduceOp::max);
  if (least == most) {
    return;
  }
  // The lowest rank that differs from rank 0 says where; all throw the same text.
  const std::string lines = option_lines(resolved);
  const std::string difference = first_difference(lines, broadcast(group, lines, 0));
  const int size = world().size, rank = world().rank;
  const auto speaker = static_cast<int>(
      all_reduce_number(group, std::int64_t{difference.empty() ? size : rank}, ReduceOp::min));
  const std::string text = broadcast(group, difference, speaker);
  FABRIC_CHECK(
      Misconfiguration, false, "[fabric.launch] ranks have different configurations; got, ",
      "on rank ", speaker, ": ", text,
      ". Hint: files may differ on nodes, and not every launcher forwards variables; give ",
      "all ranks the same file by --config, or the value on the command line.");
}

}  // namespace detail
}  // namespace fabric
