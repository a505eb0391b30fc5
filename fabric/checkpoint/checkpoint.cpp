#include <fabric/checkpoint/checkpoint.h>

#include <exception>
#include <functional>
#include <optional>
#include <string>

#include <ATen/ATen.h>

#include <accelerators/error.h>
#include <fabric/checkpoint/agreement.h>
#include <fabric/checkpoint/format/dcp.h>
#include <fabric/checkpoint/format/python_file.h>
#include <fabric/checkpoint/format/safetensors.h>
#include <fabric/checkpoint/format/sharded_folder.h>
#include <fabric/checkpoint/io/file.h>
#include <fabric/detail/model_core.h>
#include <fabric/version.h>

namespace fabric {
namespace detail {
namespace {

// The key of what the toolkit notes of a save.
constexpr const char* kDetails = "fabric";

// Which gathers writing a state makes, in order: ranks that differ would wait for each other.
std::size_t gathers_of(const StateValue& value, std::size_t hash) {
  if (value.is_tensor()) {
    if (value.stored().bytes()->group() == nullptr) {
      return hash;
    }
    hash = c10::hash_combine(hash, static_cast<std::size_t>(value.stored().dtype()));
    for (const std::int64_t size : value.stored().sizes()) {
      hash = c10::hash_combine(hash, static_cast<std::size_t>(size));
    }
  } else if (value.is_list()) {
    for (const StateValue& element : value.list()) {
      hash = gathers_of(element, hash);
    }
  } else if (value.is_dict()) {
    for (const auto& [key, element] : value.dict()) {
      hash = gathers_of(element, hash);
    }
  }
  return hash;
}

void check_same_gathers(const StateJob& job, const StateValue& tree) {
  if (job.world_size() == 1) {
    return;
  }
  const auto own = static_cast<std::int64_t>(gathers_of(tree, 0) >> 2);
  const std::int64_t least = all_reduce_number(*job.group, own, ReduceOp::min);
  const std::int64_t most = all_reduce_number(*job.group, own, ReduceOp::max);
  FABRIC_CHECK(Checkpoint, least == most, "[fabric.save] ranks differ in the tensors of the state ",
               "that are cut over them; expected the same models and optimizers, stepped alike, on ",
               "all ranks");
}

void check_alone(const StateJob& job, const ParameterIndex& parameters, const char* call) {
  FABRIC_CHECK(Misconfiguration, job.group != nullptr || !parameters.any_cut(), "[fabric.", call,
               "] a model of the state is cut over ranks, and this function knows this process ",
               "only. Hint: fabric.", call, "(…) of the Fabric object, on all ranks.");
}

StateValue filtered(const StateValue& value, const std::string& path,
                    const std::function<bool(const std::string&)>& wanted) {
  if (!value.is_dict()) {
    return value;
  }
  StateDict kept;
  kept.ordered = value.dict().ordered;
  for (const auto& [key, element] : value.dict()) {
    const std::string name = key.is_string() ? key.string() : key.description();
    const std::string full = path.empty() ? name : path + "." + name;
    if (element.is_dict()) {
      StateValue inner = filtered(element, full, wanted);
      if (!inner.dict().empty() || element.dict().empty()) {
        kept.append(key, std::move(inner));
      }
    } else if (wanted(full)) {
      kept.append(key, element);
    }
  }
  return kept;
}

// What the toolkit notes of a save. A model alone has its tensors' names only.
void add_details(StateValue& tree, const StateJob& job, const SaveOptions& options) {
  if (!tree.is_dict() || tree.dict().ordered) {
    return;
  }
  FABRIC_CHECK(Misconfiguration, !tree.contains(kDetails), "[fabric.save] the name '", kDetails,
               "' in a state is the toolkit's; expected another one");
  StateDict details{{"version", FABRIC_VERSION}, {"world_size", job.world_size()}};
  if (job.strategy) {
    details.set("strategy", job.strategy->name());
  }
  StateDict orders;
  for (const std::shared_ptr<ModelCore>& core : job.models) {
    if (const std::vector<std::int64_t> order = core->managed->reduction_order(); !order.empty()) {
      orders.set(core->label, to_state(order));
    }
  }
  details.set("reduction_orders", std::move(orders));
  for (const auto& [key, value] : options.details) {
    details.set(key, value);
  }
  tree.dict().append(kDetails, std::move(details));
}

// Takes over what numbers depend on besides the state, and drops the toolkit's notes.
void take_details(StateValue& rest, const StateJob& job) {
  if (job.group == nullptr || !rest.contains(kDetails)) {
    return;
  }
  const StateValue& details = rest[kDetails];
  if (details.contains("reduction_orders") && details.contains("world_size") &&
      details["world_size"].as<int>() == job.world_size()) {
    for (const std::shared_ptr<ModelCore>& core : job.models) {
      if (details["reduction_orders"].contains(core->label)) {
        core->managed->set_reduction_order(
            details["reduction_orders"][core->label].as<std::vector<std::int64_t>>());
      }
    }
  }
  rest.dict().erase(kDetails);
}

StateValue read_any(const std::filesystem::path& path, bool memory_map) {
  if (is_folder(path)) {
    if (is_sharded_folder(path)) {
      return read_sharded_folder(path, memory_map);
    }
    if (is_dcp(path)) {
      return read_dcp(path);
    }
    const std::filesystem::path index = path / "model.safetensors.index.json";
    if (detail::exists(index)) {
      return read_safetensors_index(index, memory_map);
    }
    FABRIC_CHECK(Checkpoint, false, "[fabric.load] ", path.string(), " is a folder without what ",
                 "makes it a checkpoint; expected manifest.pt (a sharded checkpoint), .metadata ",
                 "(torch.distributed.checkpoint) or model.safetensors.index.json in it, or the path ",
                 "of a file");
  }
  if (path.string().ends_with(".safetensors.index.json")) {
    return read_safetensors_index(path, memory_map);
  }
  const auto file = std::make_shared<const InputFile>(path, memory_map);
  if (is_python_file(*file)) {
    return read_python_file(file);
  }
  if (is_safetensors(*file)) {
    return read_safetensors(file);
  }
  FABRIC_CHECK(Checkpoint, false, "[fabric.load] ", path.string(), " is no checkpoint that is ",
               "known; got ", file->size(), " bytes that are neither a zip (torch.save) nor ",
               "safetensors. Hint: is it cut off, or of torch.save's old format? "
               "(torch.save(torch.load(path), path) in Python writes the new one.)");
  return {};
}

}  // namespace

void save_node(const StateJob& job, const std::filesystem::path& path, const StateNode& node,
               const SaveOptions& options) {
  StateValue tree;
  agree_on(job, attempt([&] {
             SaveScope scope{job};
             node.announce(job, scope.parameters);
             check_alone(job, scope.parameters, "save");
             tree = node.save(scope);
             if (options.filter) {
               tree = filtered(tree, "", options.filter);
             }
             if (job.group != nullptr) {
               add_details(tree, job, options);
             }
             if (options.make_folder && job.rank() == 0 && path.has_parent_path()) {
               make_folder(path.parent_path());
             }
           }));
  check_same_gathers(job, tree);
  if (options.format.is("sharded")) {
    write_sharded_folder(job, path, tree);
    return;
  }
  const bool writes = job.rank() == 0;
  const bool safetensors = options.format.is("safetensors") ||
                           (options.format.is("auto") && path.extension() == ".safetensors");
  agree_on(job, attempt([&] {
             if (safetensors) {
               write_safetensors(path, tree, options.file_bytes, writes);
             } else {
               write_python_file(path, tree, writes);
             }
           }));
}

StateValue load_node(const StateJob& job, const std::filesystem::path& path, StateNode& node,
                     const LoadOptions& options) {
  LoadScope scope(job, options);
  StateValue rest;
  agree_on(job, attempt([&] {
             node.announce(job, scope.parameters);
             check_alone(job, scope.parameters, "load");
             const StateValue file = read_any(path, options.memory_map);
             rest = node.load(file, scope);
             scope.check(path.string());
           }));
  agree_on(job, attempt([&] { scope.run_reads(); }));
  agree_on(job, attempt([&] {
             scope.run_commits();
             take_details(rest, job);
           }));
  return rest.is_none() ? StateValue(StateDict()) : rest;
}

}  // namespace detail

void save(const std::filesystem::path& path, const State& state, const SaveOptions& options) {
  detail::save_node({}, path, *detail::state_node(state), options);
}

StateValue load(const std::filesystem::path& path, const State& state, const LoadOptions& options) {
  return detail::load_node({}, path, *detail::state_node(state), options);
}

StateValue load(const std::filesystem::path& path) {
  return detail::read_any(path, false);
}

void consolidate(const std::filesystem::path& checkpoint, const std::filesystem::path& file,
                 const ConsolidateOptions& options) {
  const StateValue all = load(checkpoint);
  if (options.keys.empty()) {
    save(file, all, options.save);
    return;
  }
  StateDict chosen;
  for (const std::string& key : options.keys) {
    chosen.append(key, all[key]);
  }
  save(file, chosen, options.save);
}

void remove_checkpoint(const std::filesystem::path& path) {
  if (detail::is_sharded_folder(path)) {
    detail::remove_sharded_folder(path);
  } else {
    detail::FileSystem::current().unlink(path.string());
  }
}

}  // namespace fabric
