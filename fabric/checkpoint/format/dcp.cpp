#include <fabric/checkpoint/format/dcp.h>

#include <map>
#include <memory>
#include <mutex>
#include <system_error>
#include <utility>
#include <vector>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/chunked_bytes.h>
#include <fabric/checkpoint/format/dcp_metadata.h>
#include <fabric/checkpoint/format/python_file.h>
#include <fabric/checkpoint/format/storage_plan.h>

namespace fabric::detail {
namespace {

constexpr std::int64_t kMostMetadata = std::int64_t{1} << 30;
constexpr const char* kMetadata = ".metadata";

// The files of a checkpoint, opened when they are needed and shared by the tensors in them.
class Folder {
 public:
  Folder(std::filesystem::path path, bool memory_map)
      : path_(std::move(path)), memory_map_(memory_map) {}

  const std::filesystem::path& path() const { return path_; }

  std::shared_ptr<const InputFile> file(const std::string& name) {
    const std::lock_guard lock(mutex_);
    std::shared_ptr<const InputFile>& file = files_[name];
    if (!file) {
      file = std::make_shared<InputFile>(path_ / name, memory_map_);
    }
    return file;
  }

  StateValue read(const DcpPlace& place) {
    std::shared_ptr<const InputFile> file = this->file(place.file);
    FABRIC_CHECK(Checkpoint,
                 place.offset <= file->size() && place.length <= file->size() - place.offset,
                 "[fabric.load] ", file->path().string(), " is too short; got ", file->size(),
                 " bytes; expected bytes ", place.offset, " to ", place.offset + place.length,
                 ". Hint: the file is cut off or of another checkpoint.");
    return read_python_file(std::move(file), place.offset, place.length);
  }

 private:
  std::filesystem::path path_;
  bool memory_map_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const InputFile>> files_;
};

StoredTensor tensor_of(const DcpEntry& entry, const DcpMetadata& metadata,
                       const std::shared_ptr<Folder>& folder) {
  std::vector<TensorChunk> chunks;
  for (const DcpChunk& chunk : entry.chunks) {
    auto bytes = static_cast<std::int64_t>(c10::elementSize(entry.dtype));
    bool overflow = false;
    for (const std::int64_t size : chunk.sizes) {
      overflow = __builtin_mul_overflow(bytes, size, &bytes) || overflow;
    }
    if (!overflow && bytes == 0) {
      continue;  // of a rank that had nothing of this tensor; not all versions write it
    }
    const DcpPlace place = metadata.place(entry.name, chunk.offsets);
    FABRIC_CHECK(Checkpoint, !overflow && bytes <= place.length, "[fabric.load] the part of '",
                 entry.name, "' at ", at::IntArrayRef(chunk.offsets), " has ", place.length,
                 " bytes; expected more, by its shape. Hint: the .metadata is damaged.");
    const auto open = [place, folder, name = entry.name] {
      const StateValue value = folder->read(place);
      FABRIC_CHECK(Checkpoint, value.is_tensor(), "[fabric.load] a part of '", name, "' in ",
                   place.file, " is ", value.description(), "; expected a tensor");
      return value.stored();
    };
    chunks.push_back({chunk.offsets, chunk.sizes, open});
  }
  const std::string name = str("'", entry.name, "' of ", folder->path().string());
  return StoredTensor(
      entry.dtype, entry.sizes, row_major_strides(entry.sizes), 0,
      std::make_shared<ChunkedBytes>(name, entry.dtype, entry.sizes, std::move(chunks)));
}

}  // namespace

bool is_dcp(const std::filesystem::path& folder) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(folder / kMetadata, ignored);
}

StateValue read_dcp(const std::filesystem::path& path, bool memory_map) {
  const InputFile file(path / kMetadata);
  FABRIC_CHECK(Checkpoint, file.size() <= kMostMetadata, "[fabric.load] ", file.path().string(),
               " has ", file.size(), " bytes; expected at most ", kMostMetadata);
  const DcpMetadata metadata = parse_dcp_metadata(file.read(0, file.size()), file.path().string());
  const auto folder = std::make_shared<Folder>(path, memory_map);
  StateTree state(static_cast<std::int64_t>(metadata.entries.size()));
  for (const DcpEntry& entry : metadata.entries) {
    state.set(entry.path, entry.is_tensor ? StateValue(tensor_of(entry, metadata, folder))
                                          : folder->read(metadata.place(entry.name, {})));
  }
  return state.take();
}

}  // namespace fabric::detail
