#include <algorithm>
#include <charconv>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/chunk_checksums.h>
#include <fabric/checkpoint/format/file_bytes.h>
#include <fabric/checkpoint/format/little_endian.h>
#include <fabric/checkpoint/format/pickle_reader.h>
#include <fabric/checkpoint/format/printable.h>
#include <fabric/checkpoint/format/python_file.h>
#include <fabric/checkpoint/format/zip_format.h>
#include <fabric/checkpoint/format/zip_reader.h>
#include <fabric/checkpoint/io/checksum.h>

namespace fabric::detail {
namespace {

constexpr std::int64_t kMostSmall = 64;  // bytes of the records that hold a number or a word

// Versions of the format that PyTorch 2.11 reads.
constexpr int kOldestVersion = 1;
constexpr int kNewestVersion = 10;

class PythonFileReader {
 public:
  PythonFileReader(std::shared_ptr<const InputFile> file, std::int64_t begin, std::int64_t size)
      : zip_(std::move(file), begin, size) {
    require(!zip_.records().empty(), "is an empty archive");
    const std::string_view first = zip_.records().front().name;
    folder_ = first.substr(0, first.find('/'));
    folder_ += '/';
  }

  StateValue read() {
    check_kind();
    check_version();
    const ZipReader::Record* pickle = find("data.pkl");
    require(pickle != nullptr, "is no file of torch.save: its archive has no record 'data.pkl'");
    read_chunk_checksums();
    PickleReaderOptions options;
    options.storage = [this](const PickleStorage& storage) { return bytes_of(storage); };
    return read_pickle(zip_.read(*pickle, kMostPickleBytes),
                       str(pickle->name, " of ", zip_.file()->path().string()), options);
  }

 private:
  template <class... Text>
  void require(bool condition, const Text&... text) const {
    FABRIC_CHECK(Checkpoint, condition, "[fabric.load] ", zip_.file()->path().string(), " ",
                 text...);
  }

  const ZipReader::Record* find(std::string_view name) const {
    return zip_.find(folder_ + std::string(name));
  }

  void check_kind() const {
    require(find("constants.pkl") == nullptr, "holds a TorchScript model; expected a state. Hint: ",
            "torch::jit::load reads it; its parameters are a state.");
    if (const ZipReader::Record* order = find("byteorder")) {
      const std::string name = zip_.read(*order, kMostSmall);
      require(name == "little", "was written with the byte order '", Printable{name},
              "'; expected 'little'. Hint: save it again on a machine of that order.");
    }
  }

  void check_version() const {
    const ZipReader::Record* record = find(".data/version");
    record = record == nullptr ? find("version") : record;
    require(record != nullptr, "is no file of torch.save: its archive has no record 'version'");
    const std::string text = zip_.read(*record, kMostSmall);
    int version = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), version);
    const std::string_view rest(end, static_cast<std::size_t>(text.data() + text.size() - end));
    require(error == std::errc() && (rest.empty() || rest == "\n") && version >= kOldestVersion &&
                version <= kNewestVersion,
            "has version '", Printable{text}, "' of PyTorch's format; expected ", kOldestVersion,
            " to ", kNewestVersion);
  }

  // Of a file of ours.
  void read_chunk_checksums() {
    const ZipReader::Record* record = find(kChunkChecksumsRecord);
    if (record == nullptr) {
      return;
    }
    std::vector<std::int64_t> sizes;
    std::vector<std::optional<std::uint32_t>> wholes;
    while (const ZipReader::Record* storage = find("data/" + std::to_string(sizes.size()))) {
      sizes.push_back(storage->size);
      wholes.push_back(storage->checksum);
    }
    auto checksums = decode_chunk_checksums(zip_.read(*record, zip_.file()->size()), sizes);
    bool fits = checksums.has_value();
    for (std::size_t i = 0; fits && i < sizes.size(); ++i) {
      fits = wholes[i].value_or(0) == checksum_of_chunks((*checksums)[i], sizes[i]);
    }
    require(fits, "is damaged: its checksums are not those of its storages");
    chunk_checksums_ = *std::move(checksums);
  }

  std::shared_ptr<const TensorBytes> bytes_of(const PickleStorage& storage) {
    const ZipReader::Record* record = find("data/" + storage.key);
    require(record != nullptr, "is damaged: it lacks the storage 'data/", Printable{storage.key},
            "'");
    zip_.check_stored(*record);
    require(record->size == storage.nbytes, "is damaged: the storage 'data/",
            Printable{storage.key}, "' has ", record->size, " bytes; expected ", storage.nbytes);
    auto bytes = std::make_shared<FileBytes>(zip_.file(), record->offset, record->size,
                                             std::string(record->name));
    std::size_t index = 0;
    std::from_chars(storage.key.data(), storage.key.data() + storage.key.size(), index);
    if (index < chunk_checksums_.size() && storage.key == std::to_string(index)) {
      bytes->set_chunk_checksums(std::move(chunk_checksums_[index]));
    } else if (record->checksum && record->size > 0 && record->size <= kChecksumChunk) {
      bytes->set_chunk_checksums({*record->checksum});  // so that parts are checked as well
    } else if (record->checksum) {
      bytes->set_checksum(*record->checksum);
    }
    return bytes;
  }

  ZipReader zip_;
  std::string folder_;  // with a slash
  std::vector<std::vector<std::uint32_t>> chunk_checksums_;
};

// Before PyTorch 1.6: pickles behind each other, the first of them a number; before 0.4 a tar.
bool is_legacy(const InputFile& file, std::int64_t begin, std::int64_t size) {
  constexpr std::string_view kMagic = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
  constexpr std::int64_t kTar = 257;
  const auto magic = static_cast<std::int64_t>(kMagic.size());
  return (size >= magic && file.read(begin, magic) == kMagic) ||
         (size >= kTar + 5 && file.read(begin + kTar, 5) == "ustar");
}

}  // namespace

bool is_python_file(const InputFile& file) {
  return file.size() >= 4 && little_endian<std::uint32_t>(file.read(0, 4)) == zip::kLocalHeader;
}

FileSummary python_file_summary(std::shared_ptr<const InputFile> file) {
  const std::int64_t size = file->size();
  return {size, ZipReader(std::move(file), 0, size).directory_checksum()};
}

StateValue read_python_file(std::shared_ptr<const InputFile> file) {
  const std::int64_t size = file->size();
  return read_python_file(std::move(file), 0, size);
}

StateValue read_python_file(std::shared_ptr<const InputFile> file, std::int64_t begin,
                            std::int64_t size) {
  FABRIC_CHECK(
      Checkpoint, !is_legacy(*file, begin, size), "[fabric.load] ", file->path().string(),
      " is of the form that torch.save wrote before PyTorch 1.6; expected a zip. Hint: in ",
      "Python, torch.save(torch.load(path), path) makes it one.");
  return PythonFileReader(std::move(file), begin, size).read();
}

}  // namespace fabric::detail
