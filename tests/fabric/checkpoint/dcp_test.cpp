#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include <fabric/checkpoint/format/chunked_bytes.h>
#include <fabric/checkpoint/format/dcp.h>
#include <fabric/checkpoint/format/python_file.h>
#include <fabric/checkpoint/format/state_tree.h>
#include <fabric/checkpoint/format/storage_plan.h>
#include <fabric/checkpoint/io/blobs.h>
#include <tests/support/memory_files.h>
#include <tests/support/python.h>
#include <tests/support/state_trees.h>

using namespace fabric;
using namespace fabric::detail;
namespace fs = std::filesystem;

namespace {

// The same with dictionaries in the order of their keys.
StateValue sorted(const StateValue& value) {
  if (value.is_list()) {
    StateList list(value.list().kind());
    for (const StateValue& each : value.list()) {
      list.push_back(sorted(each));
    }
    return list;
  }
  if (value.is_dict()) {
    std::map<std::string, StateValue> items;
    for (const auto& [key, element] : value.dict()) {
      items.emplace(key.string(), sorted(element));
    }
    StateDict dict;
    for (auto& [key, element] : items) {
      dict.append(key, std::move(element));
    }
    return dict;
  }
  return value;
}

StateValue whole_state(const fs::path& path) {
  return read_python_file(std::make_shared<InputFile>(path));
}

// Bytes of a tensor in memory that count what is read of them.
class CountedBytes final : public TensorBytes {
 public:
  CountedBytes(const at::Tensor& tensor, std::int64_t& read_so_far)
      : tensor_(tensor.contiguous()), read_so_far_(read_so_far) {}

  std::int64_t size() const override { return static_cast<std::int64_t>(tensor_.nbytes()); }
  void read(std::int64_t begin, std::int64_t count, void* to) const override {
    REQUIRE(begin >= 0);
    REQUIRE(count <= size() - begin);
    std::memcpy(to, static_cast<const char*>(tensor_.const_data_ptr()) + begin,
                static_cast<std::size_t>(count));
    read_so_far_ += count;
  }
  std::optional<std::uint32_t> checksum() const override { return checksum_; }

  std::optional<std::uint32_t> checksum_{};

 private:
  at::Tensor tensor_;
  std::int64_t& read_so_far_;
};

// Cuts a box at random until it is small.
void cut(const TensorChunk& box, RandomStates& random, std::vector<TensorChunk>& chunks) {
  const auto along = static_cast<std::size_t>(random.below(static_cast<int>(box.sizes.size())));
  if (box.sizes[along] < 2 || random.below(4) == 0) {
    chunks.push_back(box);
    return;
  }
  const std::int64_t first = 1 + random.below(static_cast<int>(box.sizes[along] - 1));
  TensorChunk low = box, high = box;
  low.sizes[along] = first;
  high.sizes[along] -= first;
  high.offsets[along] += first;
  cut(low, random, chunks);
  cut(high, random, chunks);
}

at::Tensor part_of(const at::Tensor& whole, const TensorChunk& box) {
  at::Tensor part = whole;
  for (std::size_t i = 0; i < box.sizes.size(); ++i) {
    part = part.narrow(static_cast<std::int64_t>(i), box.offsets[i], box.sizes[i]);
  }
  return part.clone(at::MemoryFormat::Contiguous);
}

TensorChunk chunk_of(std::vector<std::int64_t> offsets, std::vector<std::int64_t> sizes) {
  const auto ones = at::ones(sizes);
  return {std::move(offsets), std::move(sizes), [ones] { return StoredTensor(ones); }};
}

void check_boxes(std::vector<std::int64_t> sizes, std::vector<TensorChunk> chunks,
                 const std::string& text) {
  try {
    const ChunkedBytes bytes("'w'", at::kFloat, std::move(sizes), std::move(chunks));
    FAIL_CHECK("no error; expected " << text);
  } catch (const CheckpointError& error) {
    CHECK_MESSAGE(std::string(error.what()).find(text) != std::string::npos, error.what());
  }
}

// The folder that Python writes once for all cases; empty without PyTorch.
const TemporaryFolder* python_folder() {
  static TemporaryFolder folder;
  static const bool there = [] {
    if (!python_has("torch, torch.distributed.fsdp")) {
      return false;
    }
    const PythonResult result =
        run_python(python_script("dcp_folders.py") + " '" + folder.path().string() + "'");
    REQUIRE_MESSAGE(result.status == 0, result.output);
    return true;
  }();
  return there ? &folder : nullptr;
}

void check_read(const fs::path& folder, const std::string& text) {
  try {
    const StateValue state = read_dcp(folder);
    difference(state, state);
    FAIL_CHECK("no error; expected " << text);
  } catch (const CheckpointError& error) {
    CHECK_MESSAGE(std::string(error.what()).find(text) != std::string::npos, error.what());
  }
}

}  // namespace

TEST_SUITE("fabric.checkpoint.dcp") {
  TEST_CASE("any range of any tensor comes from the chunks it lies in") {
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
      CAPTURE(seed);
      RandomStates random(seed);
      std::vector<std::int64_t> sizes;
      for (int i = 1 + random.below(4); i > 0; --i) {
        sizes.push_back(1 + random.below(7));
      }
      const at::Tensor whole = at::randint(1 << 30, sizes, at::kInt);
      std::vector<TensorChunk> chunks;
      cut({std::vector<std::int64_t>(sizes.size(), 0), sizes, nullptr}, random, chunks);
      std::int64_t read_so_far = 0;
      bool turned = false;
      for (TensorChunk& chunk : chunks) {
        const at::Tensor part = part_of(whole, chunk);
        if (random.below(4) == 0 && part.dim() > 1) {
          // Stored column by column, as the transposed parameters of some are.
          const at::Tensor columns = part.transpose(0, 1).contiguous().transpose(0, 1);
          turned = true;  // and not counted
          chunk.open = [columns] { return StoredTensor(columns); };
        } else {
          auto bytes = std::make_shared<CountedBytes>(part, read_so_far);
          bytes->checksum_ = crc32(part.const_data_ptr(), part.nbytes());
          chunk.open = [bytes, chunk_sizes = chunk.sizes] {
            return StoredTensor(at::kInt, chunk_sizes, row_major_strides(chunk_sizes), 0, bytes);
          };
        }
      }
      std::shuffle(chunks.begin(), chunks.end(), std::mt19937_64(seed));
      chunks.push_back(chunks.front());  // a replica
      const ChunkedBytes bytes("it", at::kInt, sizes, chunks);
      CHECK(bytes.size() == static_cast<std::int64_t>(whole.nbytes()));
      const auto* expected = static_cast<const char*>(whole.const_data_ptr());
      for (int i = 0; i < 40; ++i) {
        const std::int64_t begin = random.below(static_cast<int>(bytes.size()));
        const std::int64_t count = i == 0
                                       ? bytes.size() - begin
                                       : random.below(static_cast<int>(bytes.size() - begin) + 1);
        std::vector<char> got(static_cast<std::size_t>(count) + 1, 'x');
        read_so_far = 0;
        bytes.read(begin, count, got.data());
        REQUIRE(std::memcmp(got.data(), expected + begin, static_cast<std::size_t>(count)) == 0);
        REQUIRE(got.back() == 'x');
        REQUIRE((turned || read_so_far == count));
      }
      const auto shared = std::make_shared<ChunkedBytes>("it", at::kInt, sizes, chunks);
      CHECK(at::equal(StoredTensor(at::kInt, sizes, row_major_strides(sizes), 0, shared).tensor(),
                      whole));
      CHECK_THROWS_AS(bytes.read(0, bytes.size() + 1, nullptr), CheckpointError);
    }
  }

  TEST_CASE("chunks of many megabytes, in long and in short runs") {
    const at::Tensor whole = at::randint(1 << 30, {3000, 1500}, at::kInt);  // 18 MB
    for (const std::int64_t along : {0, 1}) {
      CAPTURE(along);
      std::int64_t read_so_far = 0;
      std::vector<TensorChunk> chunks;
      std::vector<std::shared_ptr<CountedBytes>> stored;
      for (std::int64_t i = 0; i < 3; ++i) {
        TensorChunk chunk{{0, 0}, {3000, 1500}, nullptr};
        chunk.sizes[static_cast<std::size_t>(along)] /= 3;
        chunk.offsets[static_cast<std::size_t>(along)] =
            i * chunk.sizes[static_cast<std::size_t>(along)];
        const at::Tensor part = part_of(whole, chunk);
        stored.push_back(std::make_shared<CountedBytes>(part, read_so_far));
        stored.back()->checksum_ = crc32(part.const_data_ptr(), part.nbytes());
        chunk.open = [bytes = stored.back(), sizes = chunk.sizes] {
          return StoredTensor(at::kInt, sizes, row_major_strides(sizes), 0, bytes);
        };
        chunks.push_back(chunk);
      }
      const auto bytes =
          std::make_shared<ChunkedBytes>("it", at::kInt, whole.sizes().vec(), chunks);
      CHECK(bytes->good_end(0, 1) == (along == 0 ? 6'000'000 : 18'000'000));
      // On one thread, as the counts are.
      at::Tensor got = at::empty_like(whole);
      for (std::int64_t begin = 0, end = 0; begin < bytes->size(); begin = end) {
        end = bytes->good_end(begin, 1);
        bytes->read(begin, end - begin, static_cast<char*>(got.mutable_data_ptr()) + begin);
      }
      CHECK(at::equal(got, whole));
      CHECK(read_so_far == 18'000'000);
      // A damaged chunk is found by reads that cover it.
      *stored[1]->checksum_ ^= 1;
      const StoredTensor damaged(
          at::kInt, whole.sizes().vec(), row_major_strides(whole.sizes()), 0,
          std::make_shared<ChunkedBytes>("it", at::kInt, whole.sizes().vec(), chunks));
      CHECK_THROWS_WITH_AS(damaged.tensor(), doctest::Contains("damaged"), CheckpointError);
    }
  }

  TEST_CASE("chunks that do not fill their tensor are an error that says which") {
    check_boxes({4, 4}, {chunk_of({0, 0}, {2, 4})}, "parts are missing");
    check_boxes({4, 4}, {}, "parts are missing");
    check_boxes({4, 4}, {chunk_of({0, 0}, {3, 4}), chunk_of({2, 0}, {2, 4})}, "overlap");
    check_boxes({4, 4}, {chunk_of({0, 0}, {4, 3}), chunk_of({1, 2}, {2, 2})}, "overlap");
    check_boxes({4, 4}, {chunk_of({0, 0}, {5, 4})}, "reaches outside");
    check_boxes({4, 4}, {chunk_of({3, 0}, {2, 4})}, "reaches outside");
    check_boxes({4, 4}, {chunk_of({0}, {4})}, "reaches outside");
    check_boxes({std::int64_t{1} << 40, std::int64_t{1} << 40}, {}, "impossible shape");
    const ChunkedBytes empty("'w'", at::kFloat, {0, 4}, {chunk_of({0, 0}, {0, 4})});
    CHECK(empty.size() == 0);

    const ChunkedBytes other("'w'", at::kFloat, {2},
                             {{{0}, {2}, [] { return StoredTensor(at::ones({2}, at::kHalf)); }}});
    float values[2];
    CHECK_THROWS_WITH_AS(other.read(0, 8, values), doctest::Contains("Half"), CheckpointError);
  }

  TEST_CASE("a state grows by paths") {
    StateTree tree(10);
    tree.set({"model", "weight"}, 1);
    tree.set({"list", std::int64_t{2}, "a"}, 2);
    tree.set({"list", std::int64_t{0}}, 3);
    CHECK_THROWS_WITH_AS(tree.set({"model", "weight"}, 1), doctest::Contains("twice"),
                         CheckpointError);
    CHECK_THROWS_AS(tree.set({"model", "weight", "x"}, 1), CheckpointError);
    CHECK_THROWS_AS(tree.set({"model", std::int64_t{0}}, 1), CheckpointError);
    CHECK_THROWS_AS(tree.set({"list", std::int64_t{10}}, 1), CheckpointError);
    CHECK_THROWS_AS(tree.set({"list", std::int64_t{-1}}, 1), CheckpointError);
    CHECK_THROWS_AS(tree.set({}, 1), CheckpointError);
    CHECK(difference(tree.take(), StateDict{{"model", StateDict{{"weight", 1}}},
                                            {"list", StateList{3, {}, StateDict{{"a", 2}}}}}) ==
          "");
  }

  TEST_CASE("what PyTorch wrote is read as PyTorch reads it: one process") {
    const TemporaryFolder* folder = python_folder();
    if (folder == nullptr) {
      return;
    }
    CHECK(is_dcp(*folder / "single"));
    CHECK_FALSE(is_dcp(folder->path()));
    const StateValue state = read_dcp(*folder / "single");
    CHECK(difference(sorted(state), sorted(whole_state(*folder / "single.pt"))) == "");
    CHECK(difference(sorted(read_dcp(*folder / "single", true)), sorted(state)) == "");
    CHECK(state["epoch"].as<int>() == 5);
    CHECK(state["list"][2]["name"].string() == "x");
    // In the order of the state that was saved.
    CHECK(state.dict().begin()->first.string() == "model");
    CHECK(state["model"].dict().begin()->first.string() == "first.weight");
    // Tensors stay where they are until they are asked for.
    const std::int64_t before = InputFile::bytes_read();
    CHECK(state["turned"].stored().sizes() == at::IntArrayRef({4, 3}));
    CHECK(InputFile::bytes_read() == before);
    CHECK(at::equal(state["turned"].tensor(), at::arange(12).view({3, 4}).t()));
    CHECK(InputFile::bytes_read() - before < 3000);
  }

  TEST_CASE("what PyTorch wrote is read as PyTorch reads it: shards of two processes") {
    const TemporaryFolder* folder = python_folder();
    if (folder == nullptr) {
      return;
    }
    for (const char* name : {"fsdp", "hybrid", "columns"}) {
      CAPTURE(name);
      const StateValue state = read_dcp(*folder / name);
      CHECK(difference(sorted(state), sorted(whole_state(*folder / (std::string(name) + ".pt")))) ==
            "");
    }
    const StateValue columns = read_dcp(*folder / "columns");
    CHECK(at::equal(columns["columns"].tensor(), at::arange(35, at::kFloat).view({5, 7})));
    CHECK(at::equal(columns["middle"].tensor(), at::arange(30).view({2, 5, 3})));
    CHECK(at::equal(columns["one_row"].tensor(), at::arange(4, at::kFloat).view({1, 4})));
    const StateValue fsdp = read_dcp(*folder / "fsdp");
    CHECK(fsdp["model"]["first.weight"].stored().sizes() == at::IntArrayRef({3, 5}));
    CHECK(fsdp["optimizer"]["state"]["first.weight"].contains("max_exp_avg_sq"));
  }

  TEST_CASE("a folder that lacks something or is damaged is an error") {
    const TemporaryFolder* folder = python_folder();
    if (folder == nullptr) {
      return;
    }
    const TemporaryFolder copies;
    const fs::path copy = copies / "copy";
    const auto fresh = [&] {
      fs::remove_all(copy);
      fs::copy(*folder / "columns", copy, fs::copy_options::recursive);
    };
    fresh();
    fs::remove(copy / ".metadata");
    CHECK_FALSE(is_dcp(copy));
    check_read(copy, "cannot be opened");
    fresh();
    fs::remove(copy / "__1_0.distcp");
    check_read(copy, "cannot be opened");
    fresh();
    fs::resize_file(copy / "__1_0.distcp", fs::file_size(copy / "__1_0.distcp") - 1);
    check_read(copy, "too short");
    // Of another checkpoint: offsets that lead into the middle of something.
    fresh();
    fs::copy_file(*folder / "fsdp/__1_0.distcp", copy / "__1_0.distcp",
                  fs::copy_options::overwrite_existing);
    check_read(copy, "");

    support::MemoryFiles files;
    const auto put = [&](const char* name) {
      files.write(std::string("copy/") + name, bytes_of(*folder / "columns" / name));
    };
    put(".metadata");
    put("__0_0.distcp");
    put("__1_0.distcp");
    const StateValue expected = read_dcp("copy");
    CHECK(at::equal(expected["columns"].tensor(), at::arange(35, at::kFloat).view({5, 7})));
    const std::string metadata = files.read("copy/.metadata");
    for (std::size_t length = 0; length < metadata.size(); ++length) {
      CAPTURE(length);
      files.write("copy/.metadata", metadata.substr(0, length));
      CHECK_THROWS_AS(read_dcp("copy"), CheckpointError);
    }
    // The pickle has no checksum: a flipped bit may give another state, but nothing worse.
    for (std::size_t bit = 0; bit < 8 * metadata.size(); ++bit) {
      std::string flipped = metadata;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
      files.write("copy/.metadata", flipped);
      try {
        const StateValue state = read_dcp("copy");
        difference(state, state);
      } catch (const CheckpointError&) {
      }
    }
    put(".metadata");
    // Elements have one.
    const std::string elements = files.read("copy/__0_0.distcp");
    int errors = 0;
    for (std::size_t bit = 0; bit < 8 * elements.size(); ++bit) {
      std::string flipped = elements;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
      files.write("copy/__0_0.distcp", flipped);
      std::string differs;
      try {
        differs = difference(read_dcp("copy"), expected);
      } catch (const CheckpointError&) {
        ++errors;
      }
      CHECK_MESSAGE(differs == "", "bit ", bit, ": ", differs);
    }
    CHECK(errors > static_cast<int>(elements.size()));
  }

  TEST_CASE("a metadata file that is another pickle is an error") {
    const TemporaryFolder folder;
    write_bytes(folder / ".metadata", "\x80\x04N.");
    check_read(folder.path(), "expected the Metadata");
    write_bytes(folder / ".metadata", "\x80\x04\x8c\x02os\x8c\x06system\x93.");
    check_read(folder.path(), "os.system");
  }
}
