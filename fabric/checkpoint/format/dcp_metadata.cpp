#include <fabric/checkpoint/format/dcp_metadata.h>

#include <optional>
#include <unordered_map>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/pickle_reader.h>

namespace fabric::detail {
namespace {

// Classes of PyTorch that describe a checkpoint, under the names that versions have given them.
std::vector<std::string> known_classes() {
  const std::string metadata = "torch.distributed.checkpoint.metadata.";
  const std::string old = "torch.distributed._shard.sharded_tensor.metadata.";
  std::vector<std::string> names;
  for (const char* name :
       {"Metadata", "MetadataIndex", "StorageMeta", "TensorStorageMetadata", "BytesStorageMetadata",
        "ChunkStorageMetadata", "TensorProperties", "_MEM_FORMAT_ENCODING"}) {
    names.push_back(metadata + name);
  }
  names.push_back(old + "TensorProperties");
  names.push_back(old + "MEM_FORMAT_ENCODING");
  names.push_back("torch.distributed._shard.metadata.ShardMetadata");
  names.push_back("torch.distributed.checkpoint.filesystem._StorageInfo");
  for (const char* path : {"PosixPath", "WindowsPath", "PurePosixPath", "Path"}) {
    names.push_back(std::string("pathlib.") + path);
    names.push_back(std::string("pathlib._local.") + path);
  }
  return names;
}

class MetadataParser {
 public:
  explicit MetadataParser(const std::string& name) : name_(name) {}

  DcpMetadata parse(std::string_view pickle) {
    PickleReaderOptions options;
    options.plain_classes = known_classes();
    const StateValue root = read_pickle(pickle, name_, options);
    require(is_a(root, "Metadata"), "holds ", root.description(),
            "; expected the Metadata of a distributed checkpoint");
    const StateValue& entries = field(root, "state_dict_metadata");
    require(entries.is_dict(), "has no dictionary of entries");
    for (const auto& [key, value] : entries.dict()) {
      require(key.is_string(), "has an entry whose name is ", key.description());
      known_.emplace(key.string(), parsed_.entries.size());
      parsed_.entries.push_back(entry(key.string(), value));
    }
    require(known_.size() == parsed_.entries.size(), "has an entry twice");
    places(field(root, "storage_data"));
    const StateValue* planner = root.dict().find("planner_data");
    if (planner != nullptr && planner->is_dict()) {
      order(planner->dict());
    }
    return std::move(parsed_);
  }

 private:
  template <class... Text>
  void require(bool condition, const Text&... text) const {
    FABRIC_CHECK(Checkpoint, condition, "[fabric.load] ", name_, " ", text...,
                 ". Hint: it is damaged, or written by another version of PyTorch.");
  }

  static bool is_a(const StateValue& value, std::string_view name) {
    const StateValue* full = value.is_dict() ? value.dict().find("__class__") : nullptr;
    return full != nullptr && full->is_string() && full->string().ends_with(name) &&
           full->string().size() > name.size() &&
           full->string()[full->string().size() - name.size() - 1] == '.';
  }

  const StateValue& field(const StateValue& value, const char* name) const {
    const StateValue* found = value.is_dict() ? value.dict().find(name) : nullptr;
    if (found == nullptr) {
      require(false, "has no ", name, " in ", value.description());
    }
    return *found;
  }

  std::vector<std::int64_t> numbers(const StateValue& value) const {
    require(value.is_list(), "has ", "no sizes or offsets where they are due");
    std::vector<std::int64_t> made;
    for (const StateValue& each : value.list()) {
      require(each.is_integer() && each.as<std::int64_t>() >= 0, "has sizes that are no numbers");
      made.push_back(each.as<std::int64_t>());
    }
    return made;
  }

  c10::ScalarType dtype(const StateValue& properties) const {
    const StateValue* state = properties.is_dict() ? properties.dict().find("__state__") : nullptr;
    const StateValue* found = state != nullptr && state->is_list() && !state->list().empty()
                                  ? &state->list()[0]
                                  : nullptr;
    if (state == nullptr && properties.is_dict()) {
      found = properties.dict().find("dtype");
    }
    require(found != nullptr && std::holds_alternative<c10::ScalarType>(found->variant()),
            "has a tensor without a dtype");
    return std::get<c10::ScalarType>(found->variant());
  }

  DcpEntry entry(const std::string& name, const StateValue& value) const {
    DcpEntry made{.name = name};
    made.path = {name};
    if (is_a(value, "BytesStorageMetadata")) {
      return made;
    }
    require(is_a(value, "TensorStorageMetadata"), "has an unknown kind of entry");
    made.is_tensor = true;
    made.dtype = dtype(field(value, "properties"));
    made.sizes = numbers(field(value, "size"));
    const StateValue& chunks = field(value, "chunks");
    require(chunks.is_list(), "has no list of chunks");
    for (const StateValue& chunk : chunks.list()) {
      made.chunks.push_back({numbers(field(chunk, "offsets")), numbers(field(chunk, "sizes"))});
    }
    return made;
  }

  void places(const StateValue& storage) {
    require(storage.is_dict(), "has no dictionary of places");
    for (const auto& [index, info] : storage.dict()) {
      require(is_a(index, "MetadataIndex") && is_a(info, "_StorageInfo"),
              "has a place of an unknown kind");
      const StateValue& name = field(index, "fqn");
      const StateValue* offset = index.dict().find("offset");
      const StateValue& file = field(info, "relative_path");
      require(name.is_string() && file.is_string() && is_plain(file.string()),
              "has a place without a name, or in another folder");
      const StateValue* transforms = info.dict().find("transform_descriptors");
      require(
          transforms == nullptr || transforms->is_none() ||
              (transforms->is_list() && transforms->list().empty()),
          "has parts that an extension has changed (compressed, encrypted), which nothing here ",
          "can undo");
      const bool whole = offset == nullptr || offset->is_none();
      parsed_.places[name.string()].emplace(
          whole ? std::vector<std::int64_t>() : numbers(*offset),
          DcpPlace{file.string(), number(field(info, "offset")), number(field(info, "length"))});
    }
  }

  // A file of this folder: metadata must not lead anywhere else.
  static bool is_plain(const std::string& file) {
    return !file.empty() && file != "." && file != ".." &&
           file.find_first_of(std::string_view("/\0", 2)) == std::string::npos;
  }

  std::int64_t number(const StateValue& value) const {
    require(value.is_integer() && value.as<std::int64_t>() >= 0, "has a place that is no number");
    return value.as<std::int64_t>();
  }

  // The planner keeps from where in the state it took each entry, in the order of the state.
  void order(const StateDict& paths) {
    std::vector<DcpEntry> ordered;
    std::vector<bool> taken(parsed_.entries.size());
    for (const auto& [key, path] : paths) {
      const auto found = key.is_string() ? known_.find(key.string()) : known_.end();
      if (found == known_.end() || taken[found->second]) {
        continue;
      }
      taken[found->second] = true;
      ordered.push_back(std::move(parsed_.entries[found->second]));
      ordered.back().path.clear();
      require(path.is_list(), "has a path that is no list");
      for (const StateValue& part : path.list()) {
        require(part.is_string() || part.is_integer(), "has a path of other things than keys");
        if (part.is_string()) {
          ordered.back().path.emplace_back(part.string());
        } else {
          ordered.back().path.emplace_back(part.as<std::int64_t>());
        }
      }
    }
    for (std::size_t i = 0; i < parsed_.entries.size(); ++i) {
      if (!taken[i]) {
        ordered.push_back(std::move(parsed_.entries[i]));
      }
    }
    parsed_.entries = std::move(ordered);
  }

  const std::string& name_;
  DcpMetadata parsed_;
  std::unordered_map<std::string, std::size_t> known_;
};

}  // namespace

const DcpPlace& DcpMetadata::place(const std::string& name,
                                   const std::vector<std::int64_t>& offsets) const {
  const auto named = places.find(name);
  if (named != places.end()) {
    const auto found = named->second.find(offsets);
    if (found != named->second.end()) {
      return found->second;
    }
  }
  throw CheckpointError(
      detail::str("[fabric.load] the distributed checkpoint has no place for the part of '", name,
                  "' at ", c10::IntArrayRef(offsets), ". Hint: its .metadata is damaged."));
}

DcpMetadata parse_dcp_metadata(std::string_view pickle, const std::string& name) {
  return MetadataParser(name).parse(pickle);
}

}  // namespace fabric::detail
