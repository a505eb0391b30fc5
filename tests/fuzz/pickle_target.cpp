// Pickles; and those that are read are written and read again.
#include <tests/fuzz/fuzz.h>

#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/pickle_reader.h>
#include <fabric/checkpoint/format/pickle_writer.h>
#include <tests/support/state_trees.h>

namespace {

using fabric::detail::Blob;
using fabric::detail::GatherGroup;
using fabric::detail::PickleReaderOptions;
using fabric::detail::PickleStorage;
using fabric::detail::TensorBytes;

// A storage that is wherever the pickle wants one.
class AnyBytes final : public TensorBytes {
 public:
  explicit AnyBytes(std::int64_t size) : size_(size) {}
  std::int64_t size() const override { return size_; }
  void read(std::int64_t begin, std::int64_t count, void* to) const override {
    for (std::int64_t i = 0; i < count; ++i) {
      static_cast<char*>(to)[i] = static_cast<char>((begin + i) % 251);
    }
  }

 private:
  std::int64_t size_;
};

// A storage of a plan.
class Part final : public TensorBytes {
 public:
  explicit Part(Blob blob) : blob_(std::move(blob)) {}
  std::int64_t size() const override { return blob_.size; }
  void read(std::int64_t begin, std::int64_t count, void* to) const override {
    blob_.bytes->read(blob_.begin + begin, count, to);
  }
  GatherGroup* group() const override { return blob_.bytes->group(); }

 private:
  Blob blob_;
};

// Whether all tensors are small enough to be looked at.
bool small(const std::vector<fabric::StoredTensor>& tensors) {
  std::int64_t all = 0;
  for (const fabric::StoredTensor& tensor : tensors) {
    constexpr std::int64_t kMost = 1 << 20;
    if (tensor.nbytes() > kMost || (all += tensor.nbytes()) > kMost || tensor.span() > kMost) {
      return false;
    }
  }
  return true;
}

void check_again(const fabric::StateValue& state) {
  const std::vector<fabric::StoredTensor> tensors = fabric::detail::tensors_of(state);
  if (!small(tensors)) {
    return;
  }
  const fabric::detail::StoragePlan plan = fabric::detail::plan_shared_storages(tensors);
  std::string pickle;
  try {
    pickle = fabric::detail::write_pickle(state, plan);
  } catch (const fabric::CheckpointError&) {
    return;  // what Python writes and refuses to read
  }
  PickleReaderOptions options;
  options.storage = [&](const PickleStorage& storage) {
    return std::make_shared<Part>(plan.storages.at(std::stoul(storage.key)));
  };
  try {
    const std::string found =
        difference(state, fabric::detail::read_pickle(pickle, "what was written", options));
    if (!found.empty()) {
      throw std::logic_error(found);
    }
  } catch (const fabric::CheckpointError& error) {
    throw std::logic_error(error.what());
  }
}

}  // namespace

void fuzz::read_input(std::string_view input) {
  PickleReaderOptions options;
  options.storage = [](const PickleStorage& storage) {
    return std::make_shared<AnyBytes>(storage.nbytes);
  };
  options.plain_classes = {"pathlib.PosixPath",
                           "torch.distributed.checkpoint.metadata.Metadata",
                           "torch.distributed.checkpoint.metadata.MetadataIndex",
                           "torch.distributed.checkpoint.metadata.TensorProperties",
                           "torch.distributed.checkpoint.metadata._MEM_FORMAT_ENCODING"};
  const fabric::StateValue state = fabric::detail::read_pickle(input, "input", options);
  touch(state);
  check_again(state);
}
