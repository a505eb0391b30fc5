#include <algorithm>
#include <mutex>
#include <unordered_map>
#include <utility>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/chunked_bytes.h>
#include <fabric/checkpoint/format/python_file.h>
#include <fabric/checkpoint/format/sharded_folder.h>
#include <fabric/checkpoint/format/sharded_manifest.h>
#include <fabric/checkpoint/format/state_json.h>
#include <fabric/checkpoint/io/file.h>

namespace fabric::detail {
namespace {

// The shards of one checkpoint, each opened by its first reader.
class Shards {
 public:
  Shards(std::filesystem::path folder, std::string id, std::vector<ShardFile> files,
         bool memory_map)
      : folder_(std::move(folder)),
        id_(std::move(id)),
        files_(std::move(files)),
        memory_map_(memory_map),
        opened_(files_.size()) {}

  /// The run of a tensor's elements that a shard holds.
  StoredTensor run(const ShardedTensorEntry& tensor, const ShardRun& run) {
    const auto index = static_cast<std::size_t>(run.shard);
    const std::lock_guard lock(mutex_);
    Opened& shard = opened_[index];
    if (shard.parts.empty()) {
      open(index);
    }
    const auto found = shard.parts.find(tensor.name);
    FABRIC_CHECK(Checkpoint, found != shard.parts.end(), "[fabric.load] ", path(index).string(),
                 " has nothing of tensor '", tensor.name, "'; expected ", run.count,
                 " elements, as the manifest says");
    const StoredTensor& stored = found->second;
    FABRIC_CHECK(Checkpoint,
                 stored.dtype() == tensor.dtype && stored.numel() == run.count &&
                     stored.sizes().size() == 1 && stored.is_dense(),
                 "[fabric.load] ", path(index).string(), " has another part of tensor '",
                 tensor.name, "' than the manifest says; got ", c10::toString(stored.dtype()),
                 " with ", stored.numel(), " elements; expected ", c10::toString(tensor.dtype),
                 " with ", run.count);
    return stored;
  }
  std::filesystem::path path(std::size_t index) const { return folder_ / files_[index].name; }

 private:
  struct Opened {
    std::unordered_map<std::string, StoredTensor> parts;
  };

  void open(std::size_t index) {
    const ShardFile& expected = files_[index];
    const auto file = std::make_shared<const InputFile>(path(index), memory_map_);
    FABRIC_CHECK(Checkpoint, file->size() == expected.bytes, "[fabric.load] ", path(index).string(),
                 " is not the shard that was saved; got ", file->size(), " bytes; expected ",
                 expected.bytes);
    FABRIC_CHECK(Checkpoint, python_file_summary(file).checksum == expected.checksum,
                 "[fabric.load] ", path(index).string(),
                 " is not the shard that was saved, or damaged: its checksum ", "is another");
    const StateValue state = read_python_file(file);
    FABRIC_CHECK(Checkpoint,
                 state.contains("id") && state.contains("parts") && state["parts"].is_dict() &&
                     state["id"].is_string(),
                 "[fabric.load] ", path(index).string(), " is no shard of a checkpoint");
    FABRIC_CHECK(Checkpoint, state["id"].string() == id_, "[fabric.load] ", path(index).string(),
                 " belongs to another save than the manifest; got ", state["id"].string(),
                 "; expected ", id_);
    for (const auto& [name, value] : state["parts"].dict()) {
      if (name.is_string() && value.is_tensor()) {
        opened_[index].parts.emplace(name.string(), value.stored());
      }
    }
  }

  std::filesystem::path folder_;
  std::string id_;
  std::vector<ShardFile> files_;
  bool memory_map_;
  std::mutex mutex_;
  std::vector<Opened> opened_;
};

// The elements of one tensor, one behind the other, from the shards that hold them.
std::shared_ptr<const TensorBytes> bytes_of(const std::shared_ptr<Shards>& shards,
                                            const ShardedTensorEntry& tensor) {
  std::vector<TensorChunk> chunks;
  std::int64_t numel = 0;
  for (const ShardRun& run : tensor.runs) {
    chunks.push_back(
        {{run.begin}, {run.count}, [shards, tensor, run] { return shards->run(tensor, run); }});
    numel += run.count;
  }
  return std::make_shared<ChunkedBytes>("'" + tensor.name + "'", tensor.dtype,
                                        std::vector<std::int64_t>{numel}, std::move(chunks));
}

}  // namespace

bool is_sharded_folder(const std::filesystem::path& folder) {
  return detail::exists(folder / kManifestName);
}

StateValue read_sharded_folder(const std::filesystem::path& folder, bool memory_map) {
  const std::string what = (folder / kManifestName).string();
  ShardedManifest manifest = manifest_from_state(
      read_python_file(std::make_shared<const InputFile>(folder / kManifestName)), what);
  const auto shards = std::make_shared<Shards>(folder, manifest.id, manifest.shards, memory_map);
  std::unordered_map<std::string, StoredTensor> tensors;
  for (const ShardedTensorEntry& tensor : manifest.tensors) {
    const StoredTensor stored(tensor.dtype, tensor.sizes, tensor.strides, 0,
                              bytes_of(shards, tensor));
    FABRIC_CHECK(Checkpoint, stored.is_dense(), "[fabric.load] ", what, " is damaged: tensor '",
                 tensor.name, "' has strides that leave gaps");
    tensors.emplace(tensor.name, stored);
  }
  return state_from_json(manifest.state_json, "the structure in " + what,
                         [&](const std::string& name) {
                           const auto found = tensors.find(name);
                           FABRIC_CHECK(Checkpoint, found != tensors.end(), "[fabric.load] ", what,
                                        " has no tensor '", name, "'");
                           return found->second;
                         });
}

}  // namespace fabric::detail
