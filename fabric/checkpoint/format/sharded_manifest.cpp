#include <fabric/checkpoint/format/sharded_manifest.h>

#include <algorithm>
#include <cstdio>

#include <accelerators/error.h>

namespace fabric::detail {
namespace {

constexpr std::int64_t kVersion = 1;

std::int64_t numel_of(const std::vector<std::int64_t>& sizes) {
  std::int64_t numel = 1;
  for (const std::int64_t size : sizes) {
    FABRIC_CHECK(Checkpoint, size >= 0 && !__builtin_mul_overflow(numel, size, &numel),
                 "[fabric.load] a tensor of the manifest has no possible shape");
  }
  return numel;
}

void check_runs(const ShardedTensorEntry& tensor, const char* call) {
  std::int64_t end = 0;
  for (const ShardRun& run : tensor.runs) {
    FABRIC_CHECK(Checkpoint, run.begin == end && run.count > 0, "[fabric.", call,
                 "] the shards do not ", "hold tensor '", tensor.name,
                 "' as a whole; got elements from ", run.begin, " on; expected ", end);
    end += run.count;
  }
  FABRIC_CHECK(Checkpoint, end == numel_of(tensor.sizes), "[fabric.", call,
               "] the shards do not hold tensor '", tensor.name, "' as a whole; got ", end,
               " elements; expected ", numel_of(tensor.sizes));
}

StateList tuple_of(const std::vector<std::int64_t>& values) {
  StateList list(StateList::Kind::tuple);
  for (const std::int64_t value : values) {
    list.push_back(value);
  }
  return list;
}

}  // namespace

StateValue manifest_to_state(const ShardedManifest& manifest) {
  StateList shards;
  for (const ShardFile& shard : manifest.shards) {
    shards.push_back(StateDict{{"file", shard.name},
                               {"bytes", shard.bytes},
                               {"checksum", static_cast<std::int64_t>(shard.checksum)}});
  }
  StateList tensors;
  for (const ShardedTensorEntry& tensor : manifest.tensors) {
    check_runs(tensor, "save");
    StateList runs;
    for (const ShardRun& run : tensor.runs) {
      runs.push_back(tuple_of({run.shard, run.begin, run.count}));
    }
    tensors.push_back(StateDict{{"name", tensor.name},
                                {"dtype", tensor.dtype},
                                {"shape", tuple_of(tensor.sizes)},
                                {"strides", tuple_of(tensor.strides)},
                                {"runs", std::move(runs)}});
  }
  return StateDict{{"fabric_checkpoint", kVersion},
                   {"id", manifest.id},
                   {"shards", std::move(shards)},
                   {"tensors", std::move(tensors)},
                   {"state", manifest.state_json}};
}

ShardedManifest manifest_from_state(const StateValue& state, const std::string& what) {
  FABRIC_CHECK(Checkpoint, state.contains("fabric_checkpoint"), "[fabric.load] ", what,
               " is no manifest of a checkpoint");
  const auto version = state["fabric_checkpoint"].as<std::int64_t>();
  FABRIC_CHECK(Checkpoint, version == kVersion, "[fabric.load] ", what, " is of version ", version,
               ", which this program does not know; expected ", kVersion,
               ". Hint: a newer Fabric wrote it.");
  try {
    ShardedManifest manifest;
    manifest.id = state["id"].string();
    manifest.state_json = state["state"].string();
    for (const StateValue& shard : state["shards"].list()) {
      manifest.shards.push_back({shard["file"].string(), shard["bytes"].as<std::int64_t>(),
                                 shard["checksum"].as<std::uint32_t>()});
      FABRIC_CHECK(Checkpoint, is_shard_name(manifest.shards.back().name), "[fabric.load] '",
                   manifest.shards.back().name, "' is no name of a shard");
    }
    for (const StateValue& value : state["tensors"].list()) {
      ShardedTensorEntry tensor{.name = value["name"].string(),
                                .dtype = value["dtype"].as<c10::ScalarType>(),
                                .sizes = value["shape"].as<std::vector<std::int64_t>>(),
                                .strides = value["strides"].as<std::vector<std::int64_t>>(),
                                .runs = {}};
      for (const StateValue& run : value["runs"].list()) {
        const auto numbers = run.as<std::array<std::int64_t, 3>>();
        tensor.runs.push_back({numbers[0], numbers[1], numbers[2]});
        FABRIC_CHECK(
            Checkpoint,
            numbers[0] >= 0 && numbers[0] < static_cast<std::int64_t>(manifest.shards.size()),
            "[fabric.load] tensor '", tensor.name, "' lies in shard ", numbers[0], " of ",
            manifest.shards.size());
      }
      FABRIC_CHECK(Checkpoint, tensor.strides.size() == tensor.sizes.size(),
                   "[fabric.load] tensor '", tensor.name, "' has ", tensor.strides.size(),
                   " strides for ", tensor.sizes.size(), " dimensions");
      check_runs(tensor, "load");
      manifest.tensors.push_back(std::move(tensor));
    }
    return manifest;
  } catch (const CheckpointError& error) {
    throw CheckpointError(str("[fabric.load] ", what, " is damaged: ", error.what()));
  }
}

std::string shard_name(const std::string& id, int rank) {
  char number[16];
  std::snprintf(number, sizeof(number), "%05d", rank);
  return "shard-" + id + "-" + number + ".pt";
}

bool is_shard_name(const std::string& name) {
  return name.starts_with("shard-") && name.ends_with(".pt") &&
         name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

}  // namespace fabric::detail
