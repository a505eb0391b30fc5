#include <fabric/checkpoint/checkpoints.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <set>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/sharded_folder.h>
#include <fabric/checkpoint/io/file.h>
#include <fabric/fabric.h>

namespace fabric {
namespace {

constexpr std::string_view kPrefix = "step-";
constexpr std::string_view kSuffix = ".pt";

std::string name_of(std::int64_t step, bool sharded) {
  char digits[32];
  std::snprintf(digits, sizeof(digits), "%08lld", static_cast<long long>(step));
  return std::string(kPrefix) + digits + (sharded ? "" : std::string(kSuffix));
}

std::optional<std::int64_t> step_of(std::string_view name) {
  if (!name.starts_with(kPrefix)) {
    return std::nullopt;
  }
  name.remove_prefix(kPrefix.size());
  if (name.ends_with(kSuffix)) {
    name.remove_suffix(kSuffix.size());
  }
  std::int64_t step = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), step);
  return error == std::errc() && end == name.data() + name.size() && step >= 0 ? std::optional(step)
                                                                               : std::nullopt;
}

// What broadcasts can carry.
struct Found {
  std::int64_t step = 0;
  std::optional<double> metric = std::nullopt;
  std::string path;
};

}  // namespace

Checkpoints::Checkpoints(Fabric& fabric, std::filesystem::path folder, KeepOptions options)
    : fabric_(fabric), folder_(std::move(folder)), options_(options) {
  FABRIC_CHECK(Misconfiguration, options.last >= -1 && options.every >= 0 && options.best >= 0,
               "[fabric.checkpoints] got last=", options.last, ", every=", options.every,
               ", best=", options.best, "; expected numbers of 0 or more (last: -1 for all)");
  FABRIC_CHECK(Misconfiguration, !folder_.empty(), "[fabric.checkpoints] the folder has no name");
}

bool Checkpoints::better(double a, double b) const {
  if (std::isnan(a) || std::isnan(b)) {
    return !std::isnan(a);
  }
  return options_.order.is("min") ? a < b : a > b;
}

std::vector<CheckpointEntry> Checkpoints::find() const {
  std::vector<std::string> names;
  detail::FileSystem::current().list(folder_.string(), names);  // no folder: no checkpoints
  std::vector<CheckpointEntry> all;
  for (const std::string& name : names) {
    const std::optional<std::int64_t> step = step_of(name);
    const std::filesystem::path path = folder_ / name;
    if (!step || (detail::is_folder(path) && !detail::is_sharded_folder(path))) {
      continue;  // none of ours, or not complete
    }
    CheckpointEntry entry{.step = *step, .path = path};
    try {
      const StateValue state = fabric::load(path);
      if (state.contains("fabric") && state["fabric"].contains("metric")) {
        entry.metric = state["fabric"]["metric"].as<std::optional<double>>();
      }
    } catch (const CheckpointError&) {
      continue;  // damaged: it says so where it is loaded
    }
    all.push_back(std::move(entry));
  }
  std::sort(all.begin(), all.end(),
            [](const CheckpointEntry& a, const CheckpointEntry& b) { return a.step < b.step; });
  return all;
}

std::vector<CheckpointEntry> Checkpoints::list() {
  std::vector<Found> found;
  if (fabric_.is_global_zero()) {
    for (const CheckpointEntry& entry : find()) {
      found.push_back({entry.step, entry.metric, entry.path.string()});
    }
  }
  std::vector<CheckpointEntry> all;
  for (const Found& each : fabric_.broadcast(found)) {
    all.push_back({each.step, each.metric, each.path});
  }
  return all;
}

std::optional<std::filesystem::path> Checkpoints::latest() {
  const std::vector<CheckpointEntry> all = list();
  return all.empty() ? std::nullopt : std::optional(all.back().path);
}

std::optional<std::filesystem::path> Checkpoints::best() {
  std::optional<CheckpointEntry> best;
  for (const CheckpointEntry& entry : list()) {
    if (entry.metric && (!best || better(*entry.metric, *best->metric))) {
      best = entry;
    }
  }
  return best ? std::optional(best->path) : std::nullopt;
}

std::vector<CheckpointEntry> Checkpoints::kept(const std::vector<CheckpointEntry>& all) const {
  std::vector<CheckpointEntry> by_metric;
  for (const CheckpointEntry& entry : all) {
    if (entry.metric) {
      by_metric.push_back(entry);
    }
  }
  std::stable_sort(by_metric.begin(), by_metric.end(),
                   [&](const CheckpointEntry& a, const CheckpointEntry& b) {
                     return better(*a.metric, *b.metric);
                   });
  std::set<std::int64_t> steps;
  const auto count = static_cast<std::int64_t>(all.size());
  const std::int64_t newest = options_.last < 0 ? count : std::max<std::int64_t>(1, options_.last);
  for (std::int64_t i = 0; i < count; ++i) {
    const bool by_age = i >= count - newest;
    const bool by_step = options_.every > 0 && all[i].step % options_.every == 0;
    if (by_age || by_step) {
      steps.insert(all[i].step);
    }
  }
  for (std::int64_t i = 0; i < std::min<std::int64_t>(options_.best, by_metric.size()); ++i) {
    steps.insert(by_metric[i].step);
  }
  std::vector<CheckpointEntry> result;
  for (const CheckpointEntry& entry : all) {
    if (steps.contains(entry.step)) {
      result.push_back(entry);
    }
  }
  return result;
}

std::filesystem::path Checkpoints::save(std::int64_t step, const State& state,
                                        const StepOptions& options) {
  FABRIC_CHECK(Misconfiguration, step >= 0, "[fabric.checkpoints] got step ", step,
               "; expected 0 or more");
  const std::filesystem::path path = folder_ / name_of(step, options_.sharded);
  SaveOptions save = options.save;
  if (options_.sharded) {
    save.format = "sharded";
  }
  save.details.set("step", step);
  save.details.set("metric", to_state(options.metric));
  save.make_folder = true;
  fabric_.save(path, state, save);
  if (fabric_.is_global_zero()) {
    const std::vector<CheckpointEntry> all = find();
    const std::vector<CheckpointEntry> stay = kept(all);
    for (const CheckpointEntry& entry : all) {
      const bool stays = std::any_of(stay.begin(), stay.end(), [&](const CheckpointEntry& each) {
        return each.path == entry.path;
      });
      if (!stays) {
        remove_checkpoint(entry.path);
      }
    }
  }
  return path;
}

}  // namespace fabric
