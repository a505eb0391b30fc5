#include <doctest/doctest.h>

#include <ATen/ATen.h>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/python_file.h>
#include <fabric/checkpoint/format/zip_reader.h>
#include <fabric/checkpoint/format/zip_writer.h>
#include <fabric/checkpoint/io/checksum.h>
#include <tests/support/memory_files.h>
#include <tests/support/state_trees.h>
#include <tests/support/states.h>

namespace {

using fabric::StateDict;
using fabric::StateList;
using fabric::StateValue;
using fabric::detail::InputFile;

StateValue read(const std::string& path) {
  return fabric::detail::read_python_file(std::make_shared<InputFile>(path));
}

std::string written(support::MemoryFiles& files, const StateValue& state) {
  fabric::detail::write_python_file("model.pt", state, true);
  return files.read("model.pt");
}

std::string error_of(support::MemoryFiles& files, const std::string& bytes) {
  files.write("other.pt", bytes);
  try {
    difference(read("other.pt"), StateValue());
  } catch (const fabric::CheckpointError& error) {
    return error.what();
  }
  return "no error";
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

StateDict small_state() {
  return {{"w", support::counted({2, 3})},
          {"step", 7},
          {"lr", 0.1},
          {"names", StateList({"a", "b"}, StateList::Kind::tuple)},
          {"half", support::counted({3}, at::kHalf)}};
}

// An archive with other records than ours.
std::string archive(support::MemoryFiles& files,
                    const std::vector<std::pair<std::string, std::string>>& records) {
  fabric::detail::ZipLayout layout;
  std::vector<std::uint32_t> checksums;
  for (const auto& [name, data] : records) {
    layout.add(name, static_cast<std::int64_t>(data.size()));
    checksums.push_back(fabric::detail::crc32(data.data(), data.size()));
  }
  fabric::detail::OutputFile file("archive.pt", layout.file_size());
  for (std::size_t i = 0; i < records.size(); ++i) {
    file.write(layout.offset(i), records[i].second.data(),
               static_cast<std::int64_t>(records[i].second.size()));
  }
  layout.write_headers(file, checksums);
  file.commit();
  return files.read("archive.pt");
}

// Zeros without end, except for the last element.
class LargeBytes final : public fabric::detail::TensorBytes {
 public:
  static constexpr std::int64_t kSize = (std::int64_t{1} << 32) + (std::int64_t{1} << 20) + 4;
  std::int64_t size() const override { return kSize; }
  void read(std::int64_t begin, std::int64_t count, void* to) const override {
    std::memset(to, 0, static_cast<std::size_t>(count));
    if (begin + count == kSize) {
      static_cast<char*>(to)[count - 1] = 0x40;  // 2.0
    }
  }
};

}  // namespace

TEST_SUITE("fabric.checkpoint.python_file") {
  TEST_CASE("a state comes back, and its tensors only when they are asked for") {
    support::MemoryFiles files;
    StateDict state = small_state();
    state.set("large", at::arange(1 << 20, at::kFloat));
    written(files, state);
    const std::int64_t before = InputFile::bytes_read();
    const StateValue loaded = read("model.pt");
    CHECK(InputFile::bytes_read() - before < 20000);
    CHECK(loaded["step"].as<int>() == 7);
    CHECK(difference(loaded, state) == "");
    CHECK(files.names() == std::vector<std::string>{"model.pt"});
  }

  TEST_CASE("tensors that share memory share it in the file and afterwards") {
    support::MemoryFiles files;
    const at::Tensor whole = at::arange(600000, at::kFloat);
    const StateDict state{{"a", whole}, {"b", whole.narrow(0, 5, 10)}, {"c", whole.view({600, 1000}).t()}};
    const std::string once = written(files, state);
    CHECK(once.size() < 2500000);
    const StateValue loaded = read("model.pt");
    CHECK(difference(loaded, state) == "");
    CHECK(loaded["a"].stored().bytes() == loaded["b"].stored().bytes());
    CHECK(loaded["c"].tensor().strides() == at::IntArrayRef({1, 1000}));
    // A part is read without the rest, and checked all the same.
    const std::int64_t before = InputFile::bytes_read();
    CHECK(loaded["b"].tensor().equal(whole.narrow(0, 5, 10)));
    CHECK(InputFile::bytes_read() - before == 1 << 20);
    // Saved again, from the file to another one.
    CHECK(written(files, loaded) == once);
  }

  TEST_CASE("a damaged tensor is an error when it is read, also a part of it") {
    support::MemoryFiles files;
    const at::Tensor whole = at::arange(600000, at::kFloat);
    std::string bytes = written(files, StateDict{{"a", whole}, {"b", whole.narrow(0, 5, 10)},
                                                 {"c", whole.narrow(0, 500000, 10)}});
    bytes[100000] = static_cast<char>(bytes[100000] ^ 1);
    files.write("model.pt", bytes);
    const StateValue loaded = read("model.pt");
    CHECK_THROWS_WITH_AS(loaded["a"].tensor(), doctest::Contains("damaged"), fabric::CheckpointError);
    CHECK_THROWS_WITH_AS(loaded["b"].tensor(), doctest::Contains("damaged"), fabric::CheckpointError);
    CHECK(loaded["c"].tensor().equal(whole.narrow(0, 500000, 10)));
  }

  TEST_CASE("files of other writers are checked by the checksum of each record") {
    support::MemoryFiles files;
    const StateDict state = small_state();
    const std::string ours = written(files, state);
    const auto input = std::make_shared<InputFile>("model.pt");
    const fabric::detail::ZipReader zip(input, 0, input->size());
    std::vector<std::pair<std::string, std::string>> records;
    for (const auto& record : zip.records()) {
      if (record.name != "model/.fabric/checksums") {
        records.emplace_back(record.name, zip.read(record, 1 << 20));
      }
    }
    const std::string theirs = archive(files, records);
    CHECK(theirs.size() < ours.size());
    files.write("theirs.pt", theirs);
    CHECK(difference(read("theirs.pt"), state) == "");
    for (std::size_t bit = 0; bit < 8 * theirs.size(); bit += 5) {
      CAPTURE(bit);
      std::string flipped = theirs;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
      files.write("theirs.pt", flipped);
      std::string found;
      try {
        found = difference(read("theirs.pt"), state);
      } catch (const fabric::CheckpointError&) {
      }
      CHECK(found == "");
    }
  }

  TEST_CASE("a file that is cut off is an error, wherever") {
    support::MemoryFiles files;
    const std::string bytes = written(files, small_state());
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      CAPTURE(size);
      CHECK(error_of(files, bytes.substr(0, size)) != "no error");
    }
  }

  TEST_CASE("a bit that flips is an error, or changes nothing") {
    support::MemoryFiles files;
    const StateValue state = small_state();
    const std::string bytes = written(files, state);
    int harmless = 0;
    for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
      std::string flipped = bytes;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
      files.write("flipped.pt", flipped);
      CAPTURE(bit);
      std::string found;
      try {
        found = difference(read("flipped.pt"), state);
        ++harmless;
      } catch (const fabric::CheckpointError&) {
      }
      CHECK(found == "");
    }
    CHECK(harmless < static_cast<int>(8 * bytes.size() / 2));
  }

  TEST_CASE("states made up at random come back") {
    support::MemoryFiles files;
    for (unsigned seed = 0; seed < 60; ++seed) {
      CAPTURE(seed);
      support::RandomState random(seed);
      const StateValue state = StateDict{{"a", random.value()}, {"b", random.value()},
                                         {"c", random.tensor()}};
      const std::string once = written(files, state);
      const StateValue loaded = read("model.pt");
      CHECK(difference(loaded, state) == "");
      CHECK(written(files, loaded) == once);
    }
  }

  TEST_CASE("more than 4 GiB") {
    support::MemoryFiles files;
    const StateDict state{
        {"before", support::counted({3})},
        {"large", fabric::StoredTensor(at::kFloat, {LargeBytes::kSize / 4}, {1}, 0,
                                       std::make_shared<LargeBytes>())},
        {"behind", support::counted({4})}};
    fabric::detail::write_python_file("large.pt", state, true);
    const StateValue loaded = read("large.pt");
    CHECK(difference(loaded["before"], state["before"]) == "");
    CHECK(difference(loaded["behind"], state["behind"]) == "");
    const fabric::StoredTensor& large = loaded["large"].stored();
    CHECK(large.numel() == LargeBytes::kSize / 4);
    const fabric::StoredTensor last(large.dtype(), {2}, {1}, large.numel() - 2, large.bytes());
    CHECK(last.tensor().equal(at::tensor({0.f, 2.f})));
  }

  TEST_CASE("many tensors") {
    support::MemoryFiles files;
    StateDict state;
    for (int i = 0; i < 5000; ++i) {
      state.append("layer." + std::to_string(i) + ".weight", at::full({2}, i));
    }
    written(files, state);
    const StateValue loaded = read("model.pt");
    CHECK(loaded.dict().size() == 5000);
    CHECK(loaded["layer.4321.weight"].tensor().equal(at::full({2}, 4321)));
  }

  TEST_CASE("ranks that do not write touch no file") {
    support::MemoryFiles files;
    fabric::detail::write_python_file("model.pt", small_state(), false);
    CHECK(files.names().empty());
  }

  TEST_CASE("a file inside a larger one") {
    support::MemoryFiles files;
    const std::string bytes = written(files, small_state());
    files.write("outer", "before" + bytes + "behind");
    const StateValue loaded = fabric::detail::read_python_file(
        std::make_shared<InputFile>("outer"), 6, static_cast<std::int64_t>(bytes.size()));
    CHECK(difference(loaded, small_state()) == "");
  }

  TEST_CASE("what a zip begins with") {
    support::MemoryFiles files;
    written(files, small_state());
    CHECK(fabric::detail::is_python_file(InputFile("model.pt")));
    files.write("no", "PK");
    CHECK_FALSE(fabric::detail::is_python_file(InputFile("no")));
    files.write("no", "something else");
    CHECK_FALSE(fabric::detail::is_python_file(InputFile("no")));
  }

  TEST_CASE("files of other kinds say so") {
    support::MemoryFiles files;
    using namespace std::string_literals;
    const std::string pickle = "\x80\x02}.";
    const auto with = [&](std::pair<std::string, std::string> record) {
      return archive(files, {{"a/data.pkl", pickle}, {"a/version", "3\n"}, std::move(record)});
    };
    CHECK(has(error_of(files, with({"a/data/0", ""})), "no error"));
    CHECK(has(error_of(files, with({"a/byteorder", "little"})), "no error"));
    CHECK(has(error_of(files, with({"a/byteorder", "big"})), "byte order 'big'"));
    CHECK(has(error_of(files, with({"a/constants.pkl", pickle})), "TorchScript"));
    CHECK(has(error_of(files, with({"a/.data/version", "11"})), "version '11'"));
    CHECK(has(error_of(files, with({"a/.data/version", "x"})), "version 'x'"));
    CHECK(has(error_of(files, archive(files, {{"a/data.pkl", pickle}})), "no record 'version'"));
    CHECK(has(error_of(files, archive(files, {{"a/version", "3"}})), "no record 'data.pkl'"));
    CHECK(has(error_of(files, with({"a/.fabric/checksums", "x"})), "checksums are not those"));
    CHECK(has(error_of(files, "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.more"s),
              "before PyTorch 1.6"));
    std::string tar(600, '\0');
    tar.replace(257, 5, "ustar");
    CHECK(has(error_of(files, tar), "before PyTorch 1.6"));
    CHECK(has(error_of(files, "no zip"), "no end record"));
  }

  TEST_CASE("storages that are missing, or of another length") {
    support::MemoryFiles files;
    written(files, StateDict{{"w", support::counted({3})}});
    const auto input = std::make_shared<InputFile>("model.pt");
    const fabric::detail::ZipReader zip(input, 0, input->size());
    const std::string pickle = zip.read(*zip.find("model/data.pkl"), 1 << 20);
    CHECK(has(error_of(files, archive(files, {{"a/data.pkl", pickle}, {"a/version", "3"}})),
              "lacks the storage 'data/0'"));
    CHECK(has(error_of(files, archive(files, {{"a/data.pkl", pickle}, {"a/version", "3"},
                                              {"a/data/0", "12345678"}})),
              "has 8 bytes; expected 12"));
  }

  TEST_CASE("what Python would refuse is an error before there is a file") {
    support::MemoryFiles files;
    CHECK_THROWS_WITH_AS(
        fabric::detail::write_python_file(
            "model.pt", StateDict{{"a", StateList({1}, StateList::Kind::frozenset)}}, true),
        doctest::Contains("state['a']"), fabric::CheckpointError);
    CHECK(files.names().empty());
  }
}
