#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <random>
#include <set>
#include <tuple>

#include <fcntl.h>

#include <accelerators/error.h>
#include <fabric/checkpoint/agreement.h>
#include <fabric/checkpoint/format/python_file.h>
#include <fabric/checkpoint/format/sharded_folder.h>
#include <fabric/checkpoint/format/sharded_manifest.h>
#include <fabric/checkpoint/format/state_json.h>
#include <fabric/checkpoint/format/storage_plan.h>
#include <fabric/checkpoint/format/tensor_names.h>
#include <fabric/checkpoint/io/file.h>
#include <fabric/checkpoint/state_node.h>
#include <fabric/collectives.h>

namespace fabric::detail {

// A run that this rank writes.
struct OwnRun {
  std::string name;
  std::int64_t begin = 0;
  std::int64_t count = 0;
};

// What rank 0 has to know of a shard.
struct ShardReport {
  std::string file;
  std::int64_t bytes = 0;
  std::uint32_t checksum = 0;
  std::vector<OwnRun> runs{};
};

namespace {

std::int64_t item_size(const StoredTensor& tensor) {
  return static_cast<std::int64_t>(c10::elementSize(tensor.dtype()));
}

// Elements [begin, begin + count) of a dense tensor in the order of its memory.
StoredTensor flat(const StoredTensor& tensor, std::int64_t begin, std::int64_t count) {
  return {tensor.dtype(), {count}, {1}, tensor.offset() + begin, tensor.bytes()};
}

// The tensors of a state, each set of elements once, and who writes what of them.
class Dealing {
 public:
  Dealing(const StateJob& job, const StateValue& state) {
    std::map<Elements, std::string> known;
    for (NamedStored& named : name_tensors(state)) {
      const StoredTensor& tensor = named.tensor;
      const auto [first, fresh] =
          known.try_emplace({tensor.bytes()->identity(), tensor.dtype(), tensor.offset(),
                             tensor.sizes().vec(), tensor.strides().vec()},
                            named.name);
      names_.push_back(first->second);  // of an equal one that came before
      if (fresh || tensor.numel() == 0) {
        names_.back() = named.name;
        tensors_.push_back(std::move(named));
      }
    }
    // Of what all have alike each takes an equal run of all bytes, one tensor behind the other.
    std::int64_t all = 0;
    for (const NamedStored& named : tensors_) {
      all += shared(named.tensor) ? named.tensor.nbytes() : 0;
    }
    const std::int64_t first = all * job.rank() / job.world_size();
    const std::int64_t last = all * (job.rank() + 1) / job.world_size();
    std::int64_t begin = 0;
    for (const NamedStored& named : tensors_) {
      const StoredTensor& tensor = named.tensor;
      const std::int64_t item = item_size(tensor);
      if (tensor.numel() == 0) {
        continue;
      }
      if (tensor.bytes()->group() != nullptr) {
        const LocalBytes local = tensor.bytes()->local();
        if (local.size > 0) {
          add(named.name, local.begin / item,
              {tensor.dtype(), {local.size / item}, {1}, 0, local.bytes}, tensor);
        }
      } else if (shared(tensor)) {
        // Whole elements: both neighbours round alike.
        const std::int64_t from =
            std::clamp((first - begin + item - 1) / item, std::int64_t{0}, tensor.numel());
        const std::int64_t to =
            std::clamp((last - begin + item - 1) / item, std::int64_t{0}, tensor.numel());
        if (from < to) {
          add(named.name, from, flat(tensor, from, to - from), tensor);
        }
        begin += tensor.nbytes();
      } else if (job.rank() == 0) {
        const StoredTensor whole = tensor.is_dense() ? tensor : StoredTensor(tensor.clone());
        add(named.name, 0, flat(whole, 0, tensor.numel()), tensor);
      }
    }
  }

  const std::vector<OwnRun>& runs() const { return runs_; }
  const StateDict& parts() const { return parts_; }

  /// The manifest's tensors, without runs; and the state's structure.
  std::vector<ShardedTensorEntry> entries() const {
    std::vector<ShardedTensorEntry> entries;
    for (const NamedStored& named : tensors_) {
      const StoredTensor& tensor = named.tensor;
      entries.push_back(
          {named.name,
           tensor.dtype(),
           tensor.sizes().vec(),
           tensor.is_dense() ? tensor.strides().vec() : row_major_strides(tensor.sizes()),
           {}});
    }
    return entries;
  }
  std::string structure(const StateValue& state) const {
    std::size_t next = 0;
    return state_to_json(state, [&](const StoredTensor&) { return names_[next++]; });
  }

 private:
  using Elements = std::tuple<const void*, at::ScalarType, std::int64_t, std::vector<std::int64_t>,
                              std::vector<std::int64_t>>;

  static bool shared(const StoredTensor& tensor) {
    return tensor.replicated && tensor.is_dense() && tensor.numel() > 0;
  }
  void add(const std::string& name, std::int64_t begin, StoredTensor run, const StoredTensor& of) {
    run.writer = of.writer;
    runs_.push_back({name, begin, run.numel()});
    parts_.append(name, std::move(run));
  }

  std::vector<NamedStored> tensors_;
  std::vector<std::string> names_;  // of each tensor of the state, in its order
  std::vector<OwnRun> runs_;
  StateDict parts_;
};

std::string new_id() {
  std::random_device random;
  return str(std::hex, random(), random());
}

// A folder of a node's own disk under the same name would make half a checkpoint on each node.
void check_shared(const StateJob& job, const std::filesystem::path& folder, const std::string& id) {
  FileSystem& system = FileSystem::current();
  const std::string nonce = (folder / (".nonce-" + id)).string();
  agree_on(job, attempt([&] {
             if (job.rank() == 0) {
               make_folder(folder);
               const int file = system.open(nonce, O_WRONLY | O_CREAT | O_EXCL, 0666);
               FABRIC_CHECK(Checkpoint, file >= 0 && system.close(file) == 0,
                            "[fabric.save] no file ", "can be made in ", folder.string(),
                            "; got: ", std::strerror(errno));
             }
           }));
  agree_on(job, attempt([&] {
             FABRIC_CHECK(
                 Checkpoint, exists(nonce), "[fabric.save] ", folder.string(), " is not the ",
                 "folder that rank 0 has made. Hint: a sharded checkpoint needs a path that ",
                 "all nodes share (NFS, Lustre); one file needs none: {.format = ", "\"python\"}.");
           }));
  if (job.rank() == 0) {
    system.unlink(nonce);
  }
}

// Shards of other saves: of the checkpoint before, and of saves that did not come to their end.
void remove_other_shards(const std::filesystem::path& folder, const ShardedManifest& manifest) {
  std::set<std::string> kept;
  for (const ShardFile& shard : manifest.shards) {
    kept.insert(shard.name);
  }
  FileSystem& system = FileSystem::current();
  std::vector<std::string> names;
  system.list(folder.string(), names);
  for (const std::string& name : names) {
    const bool stale = name.starts_with(".shard-") || name.starts_with(".nonce-");
    if ((is_shard_name(name) && !kept.contains(name)) || stale) {
      system.unlink((folder / name).string());
    }
  }
}

}  // namespace

void remove_sharded_folder(const std::filesystem::path& folder) {
  FileSystem& system = FileSystem::current();
  system.unlink((folder / kManifestName).string());
  remove_other_shards(folder, {});
  system.remove_directory(folder.string());  // stays where somebody has put a file of their own
}

struct ShardedSave::Plan {
  Plan(const StateJob& job, const StateValue& state)
      : dealing(job, state), parts(dealing.parts()), state_json(dealing.structure(state)) {}

  Dealing dealing;
  StateValue parts;
  std::string state_json;
};

ShardedSave::ShardedSave(const StateJob& job, std::filesystem::path folder, const StateValue& state)
    : folder_(std::move(folder)), plan_(std::make_shared<Plan>(job, state)) {}

StateValue& ShardedSave::parts() {
  return plan_->parts;
}

void ShardedSave::run(const StateJob& job, const BeforeCommit& before_commit) {
  std::string id = new_id();
  if (job.world_size() > 1) {
    const std::vector<char> bytes = broadcast_bytes(*job.group, {id.begin(), id.end()}, 0);
    id.assign(bytes.begin(), bytes.end());
  }
  check_shared(job, folder_, id);

  // The manifest under way keeps other jobs out until the end.
  std::unique_ptr<OutputFile> manifest;
  agree_on(job, attempt([&] {
             if (job.rank() == 0) {
               manifest = std::make_unique<OutputFile>(folder_ / kManifestName, 0);
             }
           }));
  ShardReport report{.file = shard_name(id, job.rank())};
  const auto written = attempt([&] {
    const StateDict shard{{"id", id}, {"rank", job.rank()}, {"parts", plan_->parts}};
    const FileSummary summary =
        write_python_file(std::make_unique<OutputFile>(folder_ / report.file, 0, FileName::unique),
                          shard, before_commit);
    report.bytes = summary.bytes;
    report.checksum = summary.checksum;
    report.runs = plan_->dealing.runs();
  });
  try {
    agree_on(job, written);
  } catch (...) {
    // Where any rank fails, what the others have written belongs to no checkpoint.
    FileSystem::current().unlink((folder_ / report.file).string());
    throw;
  }
  const std::vector<ShardReport> reports = gather_objects(job, report);
  agree_on(job, attempt([&] {
             if (job.rank() == 0) {
               const ShardedManifest content = manifest_of(id, reports);
               write_python_file(std::move(manifest), manifest_to_state(content));
               remove_other_shards(folder_, content);
             }
           }));
}

ShardedManifest ShardedSave::manifest_of(const std::string& id,
                                         const std::vector<ShardReport>& reports) const {
  ShardedManifest manifest{
      .id = id, .shards = {}, .tensors = plan_->dealing.entries(), .state_json = plan_->state_json};
  std::map<std::string, std::vector<ShardRun>> runs;
  for (const ShardReport& each : reports) {
    const auto shard = static_cast<std::int64_t>(manifest.shards.size());
    manifest.shards.push_back({each.file, each.bytes, each.checksum});
    for (const OwnRun& run : each.runs) {
      runs[run.name].push_back({shard, run.begin, run.count});
    }
  }
  for (ShardedTensorEntry& tensor : manifest.tensors) {
    tensor.runs = std::move(runs[tensor.name]);
    std::sort(tensor.runs.begin(), tensor.runs.end(),
              [](const ShardRun& a, const ShardRun& b) { return a.begin < b.begin; });
  }
  return manifest;
}

}  // namespace fabric::detail
