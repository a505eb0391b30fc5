#include <fabric/checkpoint/format/python_file.h>

#include <algorithm>
#include <optional>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/chunk_checksums.h>
#include <fabric/checkpoint/format/little_endian.h>
#include <fabric/checkpoint/format/pickle_writer.h>
#include <fabric/checkpoint/format/zip_format.h>
#include <fabric/checkpoint/format/zip_writer.h>
#include <fabric/checkpoint/io/checksum.h>

namespace fabric::detail {
namespace {

// The folder in the archive, as Python names it after the file.
std::string folder_of(const std::filesystem::path& path) {
  const std::string stem = path.stem().string();
  const bool ascii = std::all_of(stem.begin(), stem.end(),
                                 [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  return ascii ? stem : "archive";
}

// 40 digits that say whether two files have the same content, as Python's do.
std::string serialization_id(const std::vector<std::uint32_t>& checksums) {
  std::uint64_t halves[2] = {0xcbf29ce484222325, 0x84222325cbf29ce4};  // FNV-1a
  for (const std::uint32_t checksum : checksums) {
    for (std::uint64_t& half : halves) {
      half = (half ^ checksum) * 0x100000001b3;
    }
  }
  std::string id;
  for (const std::uint64_t half : halves) {
    const std::string digits = std::to_string(half);
    id += std::string(20 - digits.size(), '0') + digits;
  }
  return id;
}

// One file under way.
class PythonFile {
 public:
  PythonFile(const std::filesystem::path& path, const StateValue& state)
      : path_(path), plan_(plan_shared_storages(tensors_of(state))) {
    const std::string folder = folder_of(path) + "/";
    add(folder + "data.pkl", write_pickle(state, plan_));
    add(folder + ".format_version", "1");
    add(folder + ".storage_alignment", std::to_string(ZipLayout::kAlignment));
    add(folder + "byteorder", "little");
    first_storage_ = layout_.size();
    for (std::size_t i = 0; i < plan_.storages.size(); ++i) {
      const std::size_t record =
          layout_.add(folder + "data/" + std::to_string(i), plan_.storages[i].size);
      plan_.storages[i].offset = layout_.offset(record);
    }
    chunks_ = layout_.add(folder + std::string(kChunkChecksumsRecord), chunk_checksums_size(plan_.storages));
    add(folder + "version", "3\n");
    id_ = layout_.add(folder + ".data/serialization_id", kIdSize);
  }

  /// Collective where tensors are cut over ranks.
  FileSummary write(bool writes, std::unique_ptr<OutputFile> file = nullptr) {
    std::exception_ptr error;
    if (writes) {
      try {
        if (file == nullptr) {
          file = std::make_unique<OutputFile>(path_, 0);
        }
        file->reserve(layout_.file_size());
      } catch (...) {
        error = std::current_exception();  // the others gather with this rank
        file.reset();
      }
    }
    write_blobs(file.get(), plan_.storages);
    if (error) {
      std::rethrow_exception(error);
    }
    return file != nullptr ? complete(*file) : FileSummary();
  }

 private:
  static constexpr std::int64_t kIdSize = 40;

  struct Small {
    std::size_t record = 0;
    std::string data;
  };

  void add(std::string name, std::string data) {
    const auto size = static_cast<std::int64_t>(data.size());
    small_.push_back({layout_.add(std::move(name), size), std::move(data)});
  }

  FileSummary complete(OutputFile& file) {
    small_.push_back({chunks_, encode_chunk_checksums(plan_.storages)});
    std::vector<std::uint32_t> checksums(layout_.size());
    for (std::size_t i = 0; i < plan_.storages.size(); ++i) {
      checksums[first_storage_ + i] = plan_.storages[i].checksum();
    }
    for (const Small& small : small_) {
      checksums[small.record] = crc32(small.data.data(), small.data.size());
    }
    small_.push_back({id_, serialization_id(checksums)});
    checksums[id_] = crc32(small_.back().data.data(), small_.back().data.size());
    for (const Small& small : small_) {
      file.write(layout_.offset(small.record), small.data.data(),
                 static_cast<std::int64_t>(small.data.size()));
    }
    const std::uint32_t directory = layout_.write_headers(file, checksums);
    file.commit();
    return {layout_.file_size(), directory};
  }

  std::filesystem::path path_;
  StoragePlan plan_;
  ZipLayout layout_;
  std::vector<Small> small_;  // records that are not storages
  std::size_t first_storage_ = 0;
  std::size_t chunks_ = 0;
  std::size_t id_ = 0;
};

}  // namespace

void write_python_file(const std::filesystem::path& path, const StateValue& state, bool writes) {
  PythonFile(path, state).write(writes);
}

FileSummary write_python_file(std::unique_ptr<OutputFile> file, const StateValue& state) {
  PythonFile archive(file->path(), state);
  return archive.write(/*writes=*/true, std::move(file));
}

}  // namespace fabric::detail
