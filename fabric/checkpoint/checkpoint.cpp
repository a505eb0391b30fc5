#include <fabric/checkpoint/checkpoint.h>

#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include <ATen/ATen.h>

#include <accelerators/error.h>
#include <accelerators/logging.h>
#include <fabric/checkpoint/agreement.h>
#include <fabric/checkpoint/async_saves.h>
#include <fabric/checkpoint/format/dcp.h>
#include <fabric/checkpoint/format/python_file.h>
#include <fabric/checkpoint/format/safetensors.h>
#include <fabric/checkpoint/format/safetensors_parts.h>
#include <fabric/checkpoint/format/sharded_folder.h>
#include <fabric/checkpoint/io/file.h>
#include <fabric/checkpoint/stored_bytes.h>
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
  FABRIC_CHECK(
      Checkpoint, least == most, "[fabric.save] ranks differ in the tensors of the state ",
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
      return read_dcp(path, memory_map);
    }
    const std::filesystem::path index = path / "model.safetensors.index.json";
    if (detail::exists(index)) {
      return read_safetensors_index(index, memory_map);
    }
    FABRIC_CHECK(
        Checkpoint, false, "[fabric.load] ", path.string(), " is a folder without what ",
        "makes it a checkpoint; expected manifest.pt (a sharded checkpoint), .metadata ",
        "(torch.distributed.checkpoint) or model.safetensors.index.json in it, or the path ",
        "of a file");
  }
  if (path.string().ends_with(".safetensors.index.json")) {
    return read_safetensors_index(path, memory_map);
  }
  if (!detail::exists(path) && detail::exists(safetensors_index_path(path))) {
    return read_safetensors_index(safetensors_index_path(path), memory_map);  // a split save to it
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

namespace {

// Makes what is cut over ranks whole on the rank that writes. What lies in one unit is gathered
// once.
class Collection {
 public:
  explicit Collection(bool writes) : writes_(writes) {}

  void add(StateValue& value) {
    if (value.is_tensor() && value.stored().bytes()->group() != nullptr) {
      gather(value.stored().bytes());
      if (writes_) {
        StoredTensor whole(value.stored().clone());
        whole.requires_grad = value.stored().requires_grad;
        value = std::move(whole);
      } else {
        value = StateValue();
      }
    } else if (value.is_list()) {
      for (StateValue& element : value.list()) {
        add(element);
      }
    } else if (value.is_dict()) {
      for (auto& [key, element] : value.dict()) {
        add(element);
      }
    }
  }

 private:
  void gather(const std::shared_ptr<const TensorBytes>& bytes) {
    if (gathered_ && bytes_->group() == bytes->group()) {
      return;
    }
    gathered_.reset();
    bytes_ = bytes;  // the values that are collected no longer keep it
    gathered_.emplace(*bytes_);
  }

  bool writes_;
  std::shared_ptr<const TensorBytes> bytes_;
  std::optional<GatheredScope> gathered_;
};

enum class Form { python, safetensors, sharded };

Form form_of(const std::filesystem::path& path, const SaveOptions& options) {
  if (options.format.is("sharded")) {
    return Form::sharded;
  }
  return options.format.is("safetensors") ||
                 (options.format.is("auto") && path.extension() == ".safetensors")
             ? Form::safetensors
             : Form::python;
}

void write_file(Form form, const std::filesystem::path& path, const StateValue& tree,
                const SaveOptions& options, bool writes, const BeforeCommit& before_commit = {}) {
  if (form == Form::safetensors) {
    write_safetensors(path, tree, options.file_bytes, writes, before_commit);
  } else {
    write_python_file(path, tree, writes, before_commit);
  }
}

// Shards need the ranks to agree while the program communicates.
bool can_run_beside(const StateJob& job, Form form) {
  if (form != Form::sharded || job.world_size() == 1 || job.saves == nullptr ||
      job.saves->group().control.size() > 1) {
    return true;
  }
  static std::once_flag said;
  std::call_once(said, [] {
    log_info(
        "[fabric.save] MPI allows one thread only: sharded saves do not run beside the program");
  });
  return false;
}

// Lets the rest of a save run beside the program.
void save_beside(const StateJob& job, const std::filesystem::path& path, StateValue tree, Form form,
                 const SaveOptions& options) {
  FABRIC_CHECK(Misconfiguration, job.saves != nullptr,
               "[fabric.save] saves beside the program belong ",
               "to a Fabric object, which waits for them. Hint: the object's own save(…).");
  StateJob beside{.group = job.world_size() == 1 ? nullptr : &job.saves->group()};
  std::shared_ptr<Snapshot> snapshot;
  std::function<void()> work;
  const bool writes = job.rank() == 0;
  if (form == Form::sharded) {
    std::shared_ptr<ShardedSave> save;
    agree_on(job, attempt([&] {
               save = std::make_shared<ShardedSave>(job, path, tree);
               snapshot = Snapshot::take(save->parts());
             }));
    work = [save, beside, snapshot] { save->run(beside, [&] { snapshot->check(); }); };
  } else {
    agree_on(job, attempt([&] {
               Collection(writes).add(tree);
               if (writes) {
                 snapshot = Snapshot::take(tree);
               }
             }));
    work = [form, path, tree = std::move(tree), options, snapshot, writes] {
      if (writes) {
        write_file(form, path, tree, options, true, [&] { snapshot->check(); });
      }
    };
  }
  job.saves->start(std::move(snapshot), std::move(work));
}

}  // namespace

void save_node(const StateJob& job, const std::filesystem::path& path, const StateNode& node,
               const SaveOptions& options) {
  if (job.saves != nullptr) {
    job.saves->finish(job);
  }
  StateValue tree;
  agree_on(job, attempt([&] {
             SaveScope scope{.job = job, .beside = options.async};
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
  const Form form = form_of(path, options);
  if (options.async && can_run_beside(job, form)) {
    save_beside(job, path, std::move(tree), form, options);
  } else if (form == Form::sharded) {
    std::unique_ptr<ShardedSave> save;
    agree_on(job, attempt([&] { save = std::make_unique<ShardedSave>(job, path, tree); }));
    save->run(job);
  } else {
    agree_on(job, attempt([&] { write_file(form, path, tree, options, job.rank() == 0); }));
  }
}

StateValue load_node(const StateJob& job, const std::filesystem::path& path, StateNode& node,
                     const LoadOptions& options) {
  if (job.saves != nullptr) {
    job.saves->finish(job);
  }
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
