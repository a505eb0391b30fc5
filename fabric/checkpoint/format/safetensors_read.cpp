#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/file_bytes.h>
#include <fabric/checkpoint/format/safetensors.h>
#include <fabric/checkpoint/format/safetensors_header.h>
#include <fabric/checkpoint/format/safetensors_index.h>
#include <fabric/checkpoint/format/state_json.h>
#include <fabric/checkpoint/format/storage_plan.h>

namespace fabric::detail {
namespace {

// The tensors of one file, in the order of their elements.
struct Opened {
  std::string path;
  SafetensorsHeader header;
  std::vector<StoredTensor> tensors;
};

std::int64_t chunks_of(const SafetensorsEntry& entry) {
  return (entry.end - entry.begin + kChecksumChunk - 1) / kChecksumChunk;
}

Opened open(std::shared_ptr<const InputFile> file) {
  Opened opened{file->path().string(), read_safetensors_header(*file), {}};
  const SafetensorsHeader& header = opened.header;
  const std::string_view digits = header.checksums;
  std::size_t next = 0;
  for (const SafetensorsEntry& entry : header.entries) {
    auto bytes = std::make_shared<FileBytes>(file, header.data_begin + entry.begin,
                                             entry.end - entry.begin, "'" + entry.name + "'");
    if (header.crc32.has_value()) {
      const auto chunks = static_cast<std::size_t>(chunks_of(entry));
      FABRIC_CHECK(Checkpoint, digits.size() / 8 >= next + chunks, "[fabric.load] ", opened.path,
                   " has ", digits.size() / 8, " checksums; expected more. Hint: it is damaged.");
      std::vector<std::uint32_t> checksums;
      for (std::size_t i = 0; i < chunks; ++i) {
        checksums.push_back(crc_of_hex(digits.substr(8 * next++, 8), opened.path));
      }
      bytes->set_chunk_checksums(std::move(checksums));
    }
    opened.tensors.emplace_back(entry.dtype, entry.shape, row_major_strides(entry.shape), 0,
                                std::move(bytes));
  }
  return opened;
}

using Tensors = std::unordered_map<std::string, StoredTensor>;

StateValue structure(const std::string& json, const std::string& path, const Tensors& tensors) {
  const std::string what = "the structure in " + path;
  return state_from_json(json, what, [&](const std::string& name) {
    const auto found = tensors.find(name);
    FABRIC_CHECK(Checkpoint, found != tensors.end(), "[fabric.load] ", what, " has the tensor '",
                 name, "', which no file has");
    return found->second;
  });
}

// Names that the metadata give to tensors of other names.
void add_aliases(const SafetensorsHeader& header, const Tensors& tensors, StateDict& state) {
  for (const auto& [alias, name] : header.metadata) {
    const auto found = tensors.find(name);
    if (found != tensors.end() && !tensors.contains(alias)) {
      state.set(alias, found->second);
    }
  }
}

}  // namespace

StateValue read_safetensors(std::shared_ptr<const InputFile> file) {
  const Opened opened = open(std::move(file));
  Tensors tensors;
  StateDict state;
  for (std::size_t i = 0; i < opened.tensors.size(); ++i) {
    const std::string& name = opened.header.entries[i].name;
    tensors.emplace(name, opened.tensors[i]);
    state.append(name, opened.tensors[i]);
  }
  if (opened.header.crc32.has_value()) {
    return structure(*opened.header.find_metadata("fabric.state"), opened.path, tensors);
  }
  add_aliases(opened.header, tensors, state);
  return state;
}

StateValue read_safetensors_index(const std::filesystem::path& path, bool memory_map) {
  const std::string what = path.string();
  const InputFile file(path);
  FABRIC_CHECK(Checkpoint, file.size() <= kMostSafetensorsHeader, "[fabric.load] ", what, " has ",
               file.size(), " bytes; expected an index of at most ", kMostSafetensorsHeader);
  const SafetensorsIndex index = parse_safetensors_index(file.read(0, file.size()), what);

  std::map<std::string, Opened> parts;
  std::map<std::string, Tensors> tensors_of;
  for (const auto& [name, part] : index.weight_map) {
    if (parts.contains(part)) {
      continue;
    }
    Opened opened = open(std::make_shared<InputFile>(path.parent_path() / part, memory_map));
    Tensors& tensors = tensors_of[part];
    for (std::size_t i = 0; i < opened.tensors.size(); ++i) {
      tensors.emplace(opened.header.entries[i].name, opened.tensors[i]);
    }
    parts.emplace(part, std::move(opened));
  }
  for (const auto& [part, crc] : index.parts) {
    const auto found = parts.find(part);
    FABRIC_CHECK(Checkpoint, found == parts.end() || found->second.header.crc32 == crc,
                 "[fabric.load] ", (path.parent_path() / part).string(),
                 " belongs to another checkpoint than ", what,
                 ". Hint: parts were copied or replaced one by one.");
  }
  Tensors tensors;
  StateDict state;
  for (const auto& [name, part] : index.weight_map) {
    const auto found = tensors_of[part].find(name);
    FABRIC_CHECK(Checkpoint, found != tensors_of[part].end(), "[fabric.load] ", what, " has '",
                 name, "' in ", part, "; got a file without it");
    tensors.emplace(name, found->second);
    state.append(name, found->second);
  }
  if (index.state_json.has_value()) {
    return structure(*index.state_json, what, tensors);
  }
  for (const auto& [part, opened] : parts) {
    add_aliases(opened.header, tensors, state);
  }
  return state;
}

}  // namespace fabric::detail
