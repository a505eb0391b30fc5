#include <algorithm>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/json.h>
#include <fabric/checkpoint/format/safetensors.h>
#include <fabric/checkpoint/format/safetensors_header.h>
#include <fabric/checkpoint/format/safetensors_index.h>
#include <fabric/checkpoint/format/safetensors_parts.h>
#include <fabric/checkpoint/format/state_json.h>
#include <fabric/checkpoint/format/storage_plan.h>
#include <fabric/checkpoint/format/tensor_names.h>
#include <fabric/checkpoint/io/blobs.h>

namespace fabric::detail {
namespace {

// A tensor of the file: the first of those that are the same elements; the others refer to it.
struct Stored {
  const NamedStored* named = nullptr;
  Blob blob;
  std::vector<std::string> aliases{};
};

// One file: entries and blobs in the order of their elements.
struct Part {
  std::vector<SafetensorsEntry> entries{};
  std::vector<Blob> blobs{};
  std::string header{};
  std::unique_ptr<OutputFile> file{};
  std::uint32_t crc = 0;
};

std::vector<Stored> stored_of(const std::vector<NamedStored>& named,
                              std::vector<std::string>& names) {
  std::vector<StoredTensor> tensors;
  for (const NamedStored& each : named) {
    FABRIC_CHECK(Checkpoint, each.name != "__metadata__",
                 "[fabric.save] a tensor has the name '__metadata__', which safetensors gives to ",
                 "something else. Hint: rename its key.");
    tensors.push_back(each.tensor);
  }
  StoragePlan plan = plan_row_major(tensors);
  std::vector<Stored> stored(plan.storages.size());
  for (std::size_t i = 0; i < named.size(); ++i) {
    Stored& place = stored[plan.places[i].storage];
    if (place.named == nullptr) {
      place.named = &named[i];
      place.blob = std::move(plan.storages[plan.places[i].storage]);
    } else {
      place.aliases.push_back(named[i].name);
    }
    names.push_back(place.named->name);
  }
  return stored;
}

// Deals tensors over parts in the order of the state.
std::vector<std::vector<Stored>> dealt(std::vector<Stored> stored, std::int64_t file_bytes) {
  std::vector<std::vector<Stored>> parts(1);
  std::int64_t bytes = 0;
  for (Stored& each : stored) {
    if (file_bytes > 0 && !parts.back().empty() && each.blob.size > file_bytes - bytes) {
      parts.emplace_back();
      bytes = 0;
    }
    bytes += each.blob.size;
    parts.back().push_back(std::move(each));
  }
  return parts;
}

// A part alone is a dictionary of its tensors.
std::string dictionary_json(const std::vector<Stored>& stored) {
  StateDict dict;
  for (const Stored& each : stored) {
    dict.append(each.named->name, each.named->tensor);
  }
  std::size_t next = 0;
  return state_to_json(dict, [&](const StoredTensor&) { return stored[next++].named->name; });
}

Part lay_out(std::vector<Stored> stored, const std::optional<std::string>& state_json) {
  Part part;
  const std::string json = state_json ? *state_json : dictionary_json(stored);
  // Wide elements first, so that each tensor begins at a multiple of its elements' size.
  std::stable_sort(stored.begin(), stored.end(), [](const Stored& a, const Stored& b) {
    return c10::elementSize(a.named->tensor.dtype()) > c10::elementSize(b.named->tensor.dtype());
  });
  SafetensorsHeader::Metadata aliases;
  std::int64_t begin = 0;
  for (Stored& each : stored) {
    const StoredTensor& tensor = each.named->tensor;
    part.entries.push_back(
        {each.named->name, tensor.dtype(), tensor.sizes().vec(), begin, begin + each.blob.size});
    begin += each.blob.size;
    for (const std::string& alias : each.aliases) {
      aliases.emplace_back(alias, each.named->name);  // as the format's own library names ties
    }
    part.blobs.push_back(std::move(each.blob));
  }
  part.header = make_safetensors_header(part.entries, json, aliases);
  for (std::size_t i = 0; i < part.blobs.size(); ++i) {
    part.blobs[i].offset = static_cast<std::int64_t>(part.header.size()) + part.entries[i].begin;
  }
  return part;
}

// Writes all but the name of a file. Collective.
void write_part(Part& part, const std::filesystem::path& path, bool writes) {
  std::exception_ptr error;
  if (writes) {
    try {
      part.file = std::make_unique<OutputFile>(
          path, static_cast<std::int64_t>(part.header.size()) +
                    (part.entries.empty() ? 0 : part.entries.back().end));
    } catch (...) {
      error = std::current_exception();  // the other ranks wait for this one in gathers
    }
  }
  write_blobs(part.file.get(), part.blobs);
  if (error) {
    std::rethrow_exception(error);
  }
  if (part.file == nullptr) {
    return;
  }
  std::vector<std::uint32_t> checksums;
  for (const Blob& blob : part.blobs) {
    checksums.insert(checksums.end(), blob.checksums.begin(), blob.checksums.end());
  }
  part.crc = seal_safetensors_header(part.header, checksums);
  part.file->write(0, part.header.data(), static_cast<std::int64_t>(part.header.size()));
}

void write_all(std::vector<Part>& parts, const std::filesystem::path& folder,
               const std::vector<std::string>& names, bool writes) {
  std::exception_ptr error;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    try {
      write_part(parts[i], folder / names[i], writes && !error);
    } catch (...) {
      error = error ? error : std::current_exception();
    }
  }
  if (error) {
    std::rethrow_exception(error);
  }
}

void unlink(const std::filesystem::path& path) {
  FileSystem::current().unlink(path.string());  // mostly there is none
}

bool has_text(const std::filesystem::path& path, const std::string& text) {
  try {
    const InputFile file(path);
    return file.read(0, file.size()) == text;
  } catch (const CheckpointError&) {
    return false;
  }
}

// Gives all files of a split checkpoint their names, the index last.
void commit_index(std::vector<Part>& parts, const std::vector<std::string>& names,
                  const std::filesystem::path& path, const std::string& state_json) {
  SafetensorsIndex index;
  index.state_json = state_json;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    index.parts.emplace_back(names[i], parts[i].crc);
    for (const SafetensorsEntry& entry : parts[i].entries) {
      index.weight_map.emplace_back(entry.name, names[i]);
      index.total_size += entry.end - entry.begin;
    }
  }
  const std::string text = make_safetensors_index(index);
  try {
    OutputFile file(safetensors_index_path(path), static_cast<std::int64_t>(text.size()));
    file.write(0, text.data(), static_cast<std::int64_t>(text.size()));
    for (Part& part : parts) {
      part.file->commit();
    }
    file.commit();
  } catch (...) {
    // Unless only the last sync failed, when the index has its name: nobody else needs the parts.
    if (!has_text(safetensors_index_path(path), text)) {
      for (const std::string& name : names) {
        unlink(path.parent_path() / name);
      }
    }
    throw;
  }
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, const StateValue& state,
                       std::int64_t file_bytes, bool writes, const BeforeCommit& before_commit) {
  const std::vector<NamedStored> named = name_tensors(state);
  std::vector<std::string> names;  // of each tensor's elements in the file
  std::vector<Stored> stored = stored_of(named, names);
  std::size_t next = 0;
  const std::string state_json =
      state_to_json(state, [&](const StoredTensor&) { return names[next++]; });

  std::vector<std::vector<Stored>> dealing = dealt(std::move(stored), file_bytes);
  const bool split = dealing.size() > 1;
  std::vector<Part> parts;
  for (std::vector<Stored>& each : dealing) {
    parts.push_back(
        lay_out(std::move(each), split ? std::nullopt : std::optional<std::string>(state_json)));
  }
  std::vector<std::string> files{path.filename().string()};
  if (split) {
    // Ranks that do not write need no names, and must not look at a folder that changes.
    files = writes ? free_part_names(path, parts.size()) : std::vector<std::string>(parts.size());
  }
  write_all(parts, path.parent_path(), files, writes);
  if (!writes) {
    return;
  }
  if (before_commit) {
    before_commit();
  }
  if (split) {
    commit_index(parts, files, path, state_json);
    unlink(path);
    remove_other_parts(path, files);
  } else {
    parts.front().file->commit();
    unlink(safetensors_index_path(path));
    remove_other_parts(path, {});
  }
}

}  // namespace fabric::detail
