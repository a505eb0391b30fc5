#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <ATen/ATen.h>

#include <fabric/checkpoint/format/file_bytes.h>
#include <fabric/checkpoint/format/safetensors.h>
#include <fabric/checkpoint/format/safetensors_header.h>
#include <fabric/checkpoint/format/safetensors_parts.h>
#include <fabric/checkpoint/format/storage_plan.h>
#include <fabric/checkpoint/format/tensor_names.h>
#include <tests/support/failing_file_system.h>
#include <tests/support/memory_files.h>
#include <tests/support/python.h>
#include <tests/support/state_trees.h>

using namespace fabric;
using namespace fabric::detail;
namespace fs = std::filesystem;

namespace {

StateValue read(const fs::path& path, bool memory_map = false) {
  return path.string().ends_with(".index.json")
             ? read_safetensors_index(path, memory_map)
             : read_safetensors(std::make_shared<InputFile>(path, memory_map));
}

// Reads all tensors as well: their checksums are looked at only then.
void read_all(const fs::path& path) {
  const StateValue state = read(path);
  difference(state, state);
}

std::string file_of(std::string header, const std::string& data) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) {
    bytes.push_back(static_cast<char>(header.size() >> (8 * i)));
  }
  return bytes + header + data;
}

void check_error(const fs::path& path, const std::string& text) {
  try {
    read_all(path);
    FAIL_CHECK("no error; expected " << text);
  } catch (const CheckpointError& error) {
    CHECK_MESSAGE(std::string(error.what()).find(text) != std::string::npos, error.what());
  }
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

StateValue small_state(double value) {
  return StateDict{{"model", StateDict{{"weight", at::full({2, 3}, value)},
                                       {"bias", at::full({3}, value, at::kHalf)}}},
                   {"epoch", 3},
                   {"moments", StateList({at::arange(4), 1e-3}, StateList::Kind::tuple)}};
}

// What safetensors_files.py writes, by name.
StateDict everything() {
  struct Kind {
    const char* name;
    at::ScalarType dtype;
  };
  const std::vector<Kind> kinds = {
      {"f64", at::kDouble},         {"f32", at::kFloat},        {"f16", at::kHalf},
      {"bf16", at::kBFloat16},      {"i64", at::kLong},         {"i32", at::kInt},
      {"i16", at::kShort},          {"i8", at::kChar},          {"u8", at::kByte},
      {"bool", at::kBool},          {"u16", at::kUInt16},       {"u32", at::kUInt32},
      {"u64", at::kUInt64},         {"c64", at::kComplexFloat}, {"f8_e4m3", at::kFloat8_e4m3fn},
      {"f8_e5m2", at::kFloat8_e5m2}};
  const auto tensor = [](at::ScalarType dtype, std::vector<std::int64_t> sizes) {
    std::int64_t count = 1;
    for (const std::int64_t size : sizes) {
      count *= size;
    }
    return at::arange(count, at::kFloat).remainder(7).to(dtype).reshape(sizes);
  };
  StateDict dict;
  for (const Kind& kind : kinds) {
    const std::vector<std::vector<std::int64_t>> shapes = {{2, 3}, {}, {0, 4}};
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      dict.append(str(kind.name, '.', i), tensor(kind.dtype, shapes[i]));
    }
  }
  dict.append("ünï \"漢\"\n", tensor(at::kFloat, {5}));
  return dict;
}

// Equal as dictionaries, in any order.
void check_same_items(const StateDict& got, const StateDict& expected) {
  CHECK(got.size() == expected.size());
  for (const StateDict::Item& item : expected) {
    const std::string& name = item.first.string();
    CAPTURE(name);
    REQUIRE(got.contains(name));
    CHECK(difference(got[name], item.second) == "");
  }
}

}  // namespace

TEST_SUITE("fabric.checkpoint.safetensors") {
  TEST_CASE("a model's dictionary has its keys as names, wide elements first, 64 bytes aligned") {
    const TemporaryFolder folder;
    const StateDict model{{"fc.bias", at::ones({3}, at::kHalf)},
                          {"fc.weight", at::arange(6, at::kFloat).view({2, 3})}};
    write_safetensors(folder / "m.safetensors", model, 0, true);
    const InputFile file(folder / "m.safetensors");
    CHECK(is_safetensors(file));
    const SafetensorsHeader header = read_safetensors_header(file);
    REQUIRE(header.entries.size() == 2);
    CHECK(header.entries[0].name == "fc.weight");
    CHECK(header.entries[1].name == "fc.bias");
    CHECK(header.data_begin % 64 == 0);
    CHECK(*header.find_metadata("format") == "pt");
    CHECK(*header.find_metadata("fabric.state") ==
          R"({"fc.bias":{"$tensor":"fc.bias"},"fc.weight":{"$tensor":"fc.weight"}})");
    CHECK(difference(read(folder / "m.safetensors"), model) == "");
    CHECK(names_in(folder.path()) == std::vector<std::string>{"m.safetensors"});
  }

  TEST_CASE("names are keys joined by dots") {
    const auto names = [](const StateValue& state) {
      std::string all;
      for (const NamedStored& each : name_tensors(state)) {
        all += each.name + " ";
      }
      return all;
    };
    CHECK(names(small_state(1)) == "model.weight model.bias moments.0 ");
    CHECK(names(at::ones({1})) == "tensor ");
    CHECK(names(StateDict{{0, StateDict{{1.5, at::ones({1})}}}}) == "0.1.5 ");
    const StateDict clash{{"a.b", at::ones({1})}, {"a", StateDict{{"b", at::zeros({1})}}}};
    CHECK_THROWS_WITH_AS(names(clash), doctest::Contains("two tensors have the name 'a.b'"),
                         CheckpointError);
    const TemporaryFolder folder;
    CHECK_THROWS_WITH_AS(
        write_safetensors(folder / "x", StateDict{{"__metadata__", at::ones({1})}}, 0, true),
        doctest::Contains("__metadata__"), CheckpointError);
    CHECK_THROWS_WITH_AS(
        write_safetensors(folder / "x", StateDict{{"z", at::ones({1}, at::kComplexDouble)}}, 0,
                          true),
        doctest::Contains("ComplexDouble"), CheckpointError);
    CHECK(names_in(folder.path()).empty());
  }

  TEST_CASE("random states come back as they were, in one file and in several") {
    for (std::uint64_t seed = 0; seed < 150; ++seed) {
      CAPTURE(seed);
      const TemporaryFolder folder;
      RandomStates random(seed);
      const StateDict state{{"first", random()}, {"second", random()}, {"third", random.tensor()}};
      const fs::path path = folder / "state.safetensors";
      const std::int64_t file_bytes = random.below(3) == 0 ? 0 : 1 + random.below(200);
      try {
        write_safetensors(path, state, file_bytes, true);
      } catch (const CheckpointError& error) {  // the only reasons there are
        const std::string text = error.what();
        REQUIRE((text.find("have the name") != std::string::npos ||
                 text.find("not UTF-8") != std::string::npos));
        continue;
      }
      const bool split = !fs::exists(path);
      const StateValue got = read(split ? safetensors_index_path(path) : path);
      REQUIRE(difference(got, state) == "");
      REQUIRE(difference(read(split ? safetensors_index_path(path) : path, true), state) == "");
    }
  }

  TEST_CASE("the same elements are written once, and stay together") {
    const TemporaryFolder folder;
    const at::Tensor weight = at::rand({64, 64});
    const StateDict state{{"embed", weight},
                          {"head", weight},
                          {"row", weight[3]},
                          {"turned", weight.t()},
                          {"wide", at::rand({1}).expand({5})}};
    write_safetensors(folder / "t", state, 0, true);
    const StateValue got = read(folder / "t");
    CHECK(difference(got, state) == "");
    CHECK(got["embed"].stored().bytes() == got["head"].stored().bytes());
    const InputFile file(folder / "t");
    const SafetensorsHeader header = read_safetensors_header(file);
    CHECK(*header.find_metadata("head") == "embed");
    CHECK(header.entries.size() == 4);
    CHECK(file.size() - header.data_begin == 4 * (2 * 64 * 64 + 64 + 5));
  }

  TEST_CASE("the plan of rows: what is one run is taken as it lies, the rest is packed") {
    const at::Tensor base = at::arange(24, at::kInt).view({4, 6});
    const std::vector<StoredTensor> tensors = {StoredTensor(base),
                                               StoredTensor(base[2]),
                                               StoredTensor(base.t()),
                                               StoredTensor(base),
                                               StoredTensor(base.view({6, 4})),
                                               StoredTensor(base.slice(0, 9)),
                                               StoredTensor(base.select(1, 0)),
                                               StoredTensor(base.unsqueeze(1))};
    const StoragePlan plan = plan_row_major(tensors);
    REQUIRE(plan.places.size() == tensors.size());
    CHECK(plan.storages.size() == 7);
    CHECK(plan.places[3].storage == 0);  // the same elements in the same shape
    CHECK(plan.storages[1].begin == 12 * 4);
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      CAPTURE(i);
      const StoredPlace& place = plan.places[i];
      const Blob& blob = plan.storages[place.storage];
      CHECK(place.offset == 0);
      CHECK(place.strides == row_major_strides(tensors[i].sizes()));
      CHECK(blob.size == tensors[i].nbytes());
      std::vector<char> bytes(static_cast<std::size_t>(blob.size));
      if (GatherGroup* group = blob.bytes->group()) {
        CHECK((i == 2 || i == 6));
        group->gather();
        blob.bytes->read(blob.begin, blob.size, bytes.data());
        group->release();
      } else {
        blob.bytes->read(blob.begin, blob.size, bytes.data());
      }
      const at::Tensor expected = tensors[i].clone().contiguous();
      CHECK((blob.size == 0 ||
             std::memcmp(bytes.data(), expected.const_data_ptr(), bytes.size()) == 0));
    }
  }

  TEST_CASE("tensors stay in the file, and a part of one reads the chunks it lies in") {
    const TemporaryFolder folder;
    const StateDict state{{"large", at::rand({3, 1 << 18})}, {"other", at::rand({1 << 18})}};
    write_safetensors(folder / "s", state, 0, true);
    const std::int64_t before = InputFile::bytes_read();
    const StateValue got = read(folder / "s");
    CHECK(InputFile::bytes_read() - before < 2000);
    const auto& bytes = *got["large"].stored().bytes();
    std::vector<float> some(5);
    const std::int64_t start = InputFile::bytes_read();
    bytes.read((1 << 20) + 40, 20, some.data());
    CHECK(InputFile::bytes_read() - start == 1 << 20);
    CHECK(std::memcmp(some.data(), state["large"].tensor()[1].data_ptr<float>() + 10, 20) == 0);
    CHECK(bytes.good_end(40, 1000) == 1 << 20);
    CHECK(bytes.good_end(40, (2 << 20) + 100) == 2 << 20);
    CHECK_THROWS_AS(bytes.read((3 << 20) - 4, 8, some.data()), CheckpointError);
  }

  TEST_CASE("a damaged element is found where it is read, and only there") {
    const TemporaryFolder folder;
    const StateDict state{{"first", at::rand({1 << 19})}, {"second", at::rand({8})}};
    write_safetensors(folder / "s", state, 0, true);
    std::string bytes = bytes_of(folder / "s");
    const std::int64_t data = read_safetensors_header(InputFile(folder / "s")).data_begin;
    bytes[static_cast<std::size_t>(data) + (1 << 20) + 5] ^= 16;
    write_bytes(folder / "s", bytes);
    const StateValue got = read(folder / "s");
    CHECK(difference(got["second"], state["second"]) == "");
    CHECK_THROWS_WITH_AS(got["first"].tensor(), doctest::Contains("'first' of"), CheckpointError);
    std::vector<char> half(1 << 20);
    got["first"].stored().bytes()->read(0, 1 << 20, half.data());  // the whole first chunk is good
  }

  TEST_CASE("a mapped file lends its bytes: no reads, private writes, alive with the tensor") {
    const TemporaryFolder folder;
    const fs::path path = folder / "m";
    const StateDict state{{"a", at::arange(1 << 16, at::kFloat)}, {"b", at::arange(5, at::kByte)}};
    write_safetensors(path, state, 0, true);
    at::Tensor tensor, again, byte;
    const std::int64_t data = read_safetensors_header(InputFile(path)).data_begin;
    {
      const StateValue got = read(path, true);
      const std::int64_t before = InputFile::bytes_read();
      tensor = got["a"].tensor();
      again = got["a"].tensor();
      byte = got["b"].tensor();
      CHECK(InputFile::bytes_read() == before);
      CHECK(got["a"].stored().clone().data_ptr() != tensor.data_ptr());
      CHECK(InputFile::bytes_read() - before == 4 << 16);
    }
    CHECK(tensor.data_ptr() == again.data_ptr());
    CHECK(reinterpret_cast<std::uintptr_t>(tensor.data_ptr()) % 64 == 0);
    CHECK(at::equal(tensor, state["a"].tensor()));
    CHECK(at::equal(byte, state["b"].tensor()));
    tensor.add_(1);
    CHECK(again[7].item<float>() == 8);
    CHECK(difference(read(path), state) == "");  // the file is as it was
    fs::remove(path);
    CHECK(byte.sum().item<std::int64_t>() == 10);
    CHECK_FALSE(tensor.requires_grad());
    CHECK(data % 64 == 0);
  }

  TEST_CASE("elements that lie askew in a mapped file are copied") {
    const TemporaryFolder folder;
    for (std::size_t padding = 0; padding < 8; ++padding) {
      CAPTURE(padding);
      std::string header = R"({"a":{"dtype":"F64","shape":[2],"data_offsets":[0,16]}})";
      header.append(padding, ' ');
      std::string data(16, '\0');
      const double values[2] = {1.5, -2};
      std::memcpy(data.data(), values, 16);
      write_bytes(folder / "f", file_of(header, data));
      const StateValue got = read(folder / "f", true);
      const std::int64_t before = InputFile::bytes_read();
      const at::Tensor tensor = got["a"].tensor();
      CHECK(tensor[0].item<double>() == 1.5);
      CHECK(tensor[1].item<double>() == -2);
      CHECK((InputFile::bytes_read() == before) == ((8 + header.size()) % 8 == 0));
    }
  }

  TEST_CASE("a split checkpoint: files of at most so many bytes, the index names them") {
    const TemporaryFolder folder;
    const StateDict state{{"a", at::rand({4})},
                          {"b", at::rand({4})},
                          {"large", at::rand({100})},
                          {"c", at::rand({2})},
                          {"epoch", 7}};
    const fs::path path = folder / "model.safetensors";
    write_safetensors(path, state, 32, true);
    CHECK((names_in(folder.path()) == std::vector<std::string>{"model-00001-of-00003.safetensors",
                                                               "model-00002-of-00003.safetensors",
                                                               "model-00003-of-00003.safetensors",
                                                               "model.safetensors.index.json"}));
    CHECK(difference(read(safetensors_index_path(path)), state) == "");
    const StateDict part = read(folder / "model-00001-of-00003.safetensors").dict();
    check_same_items(part, {{"a", state["a"]}, {"b", state["b"]}});

    // All that fits is one file; the split one is gone.
    write_safetensors(path, state, 1000, true);
    CHECK(names_in(folder.path()) == std::vector<std::string>{"model.safetensors"});
    CHECK(difference(read(path), state) == "");
    // And back.
    write_safetensors(path, small_state(1), 16, true);
    CHECK(difference(read(safetensors_index_path(path)), small_state(1)) == "");
    CHECK_FALSE(fs::exists(path));
    // Over another split one: free names, then the old ones go. Others' files stay.
    write_bytes(folder / "model-notes.safetensors", "x");
    write_safetensors(path, small_state(2), 16, true);
    CHECK(difference(read(safetensors_index_path(path)), small_state(2)) == "");
    CHECK(fs::exists(folder / "model.g2-00001-of-00003.safetensors"));
    CHECK_FALSE(fs::exists(folder / "model-00001-of-00003.safetensors"));
    CHECK(fs::exists(folder / "model-notes.safetensors"));
  }

  TEST_CASE("parts of two checkpoints are never taken for one") {
    const TemporaryFolder folder;
    write_safetensors(folder / "one.safetensors", small_state(1), 16, true);
    write_safetensors(folder / "two.safetensors", small_state(2), 16, true);
    fs::copy_file(folder / "two-00002-of-00003.safetensors",
                  folder / "one-00002-of-00003.safetensors", fs::copy_options::overwrite_existing);
    check_error(folder / "one.safetensors.index.json", "another checkpoint");
    fs::remove(folder / "one-00002-of-00003.safetensors");
    check_error(folder / "one.safetensors.index.json", "cannot be opened");
  }

  TEST_CASE("whatever fails while a checkpoint is written, the old or the new one is whole") {
    for (const std::int64_t file_bytes : {0, 16}) {
      for (const bool dead : {false, true}) {
        bool reached_new = false;
        bool beyond = false;  // none failed any more
        int fails_at = 0;
        for (; !beyond; ++fails_at) {
          CAPTURE(file_bytes);
          CAPTURE(dead);
          CAPTURE(fails_at);
          const TemporaryFolder folder;
          const fs::path path = folder / "model.safetensors";
          write_safetensors(path, small_state(1), file_bytes, true);
          bool failed = false;
          {
            FailingFileSystem system(fails_at, dead);
            const FileSystemScope scope(system);
            try {
              write_safetensors(path, small_state(2), file_bytes, true);
            } catch (const CheckpointError&) {
              failed = true;
            }
            beyond = system.operations() <= fails_at;
          }
          const StateValue got = read(file_bytes > 0 ? safetensors_index_path(path) : path);
          const bool old = difference(got, small_state(1)) == "";
          CHECK((old || difference(got, small_state(2)) == ""));
          CHECK((failed || !old));
          reached_new = reached_new || !old;
          if (!dead && failed && old) {
            for (const std::string& name : names_in(folder.path())) {
              CHECK_MESSAGE(name.find("fabric-tmp") == std::string::npos, name);
              CHECK_MESSAGE(name.find(".g2") == std::string::npos, name);
            }
          }
          // The next one tidies up.
          write_safetensors(path, small_state(3), file_bytes, true);
          CHECK(names_in(folder.path()).size() == (file_bytes > 0 ? 4u : 1u));
        }
        CHECK(fails_at > 8);
        CHECK(reached_new);
      }
    }
  }

  TEST_CASE("a rank that does not write takes part, and leaves nothing") {
    const TemporaryFolder folder;
    write_safetensors(folder / "m.safetensors", small_state(1), 0, false);
    write_safetensors(folder / "m.safetensors", small_state(1), 16, false);
    CHECK(names_in(folder.path()).empty());
  }

  TEST_CASE("cut off anywhere, a file is an error") {
    support::MemoryFiles files;
    write_safetensors("m.safetensors", small_state(1), 0, true);
    const std::string bytes = files.read("m.safetensors");
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      CAPTURE(length);
      files.write("cut", bytes.substr(0, length));
      CHECK_THROWS_AS(read_all("cut"), CheckpointError);
    }
    files.write("cut", bytes + '\0');
    CHECK_THROWS_AS(read_all("cut"), CheckpointError);

    write_safetensors("s.safetensors", small_state(1), 16, true);
    const std::string index = files.read("s.safetensors.index.json");
    for (std::size_t length = 0; length < index.size(); ++length) {
      CAPTURE(length);
      files.write("cut.index.json", index.substr(0, length));
      CHECK_THROWS_AS(read_all("cut.index.json"), CheckpointError);
    }
  }

  TEST_CASE("any bit flipped, a file of ours is an error or reads the same") {
    support::MemoryFiles files;
    const auto flip_all = [&](const std::string& name, const StateValue& state) {
      const std::string bytes = files.read(name);
      int errors = 0;
      for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
        std::string flipped = bytes;
        flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
        files.write(name, flipped);
        std::string differs;
        try {
          differs = difference(read(name), state);
        } catch (const CheckpointError&) {
          ++errors;
        }
        CHECK_MESSAGE(differs == "", "bit ", bit, ": ", differs);
      }
      CHECK(errors == static_cast<int>(8 * bytes.size()));  // no byte is unused
      files.write(name, bytes);
    };
    write_safetensors("m.safetensors", small_state(1), 0, true);
    flip_all("m.safetensors", small_state(1));
    write_safetensors("s.safetensors", small_state(1), 16, true);
    const std::string part = "s-00002-of-00003.safetensors";
    flip_all("s.safetensors.index.json", small_state(1));
    flip_all(part, read(part));
  }

  TEST_CASE("what breaks a rule of the format is an error that names it") {
    const TemporaryFolder folder;
    const fs::path path = folder / "f";
    const auto check = [&](const std::string& header, const std::string& data,
                           const std::string& text) {
      CAPTURE(header);
      write_bytes(path, file_of(header, data));
      check_error(path, text);
    };
    const std::string four(4, 'x');
    const auto entry = [](const std::string& dtype, const std::string& shape,
                          const std::string& range) {
      return R"({"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + range + "}";
    };
    check("", "", "does not begin with '{'");
    check(" {}", "", "does not begin with '{'");
    check("{", "", "not JSON");
    check("{} x", "", "not JSON");
    check("{}", four, "4 bytes of elements; expected 0");
    check(R"({"a":3})", "", "no dtype for 'a'");
    check(R"({"a":{"dtype":"U8","shape":[4]}})", four, "no data_offsets for 'a'");
    check(R"({"a":)" + entry("\"F31\"", "[1]", "[0,4]") + "}", four, "F31");
    check(R"({"a":)" + entry("\"F4\"", "[8]", "[0,4]") + "}", four, "F4");
    check(R"({"a":)" + entry("3", "[1]", "[0,4]") + "}", four, "got 3");
    check(R"({"a":)" + entry("\"F32\"", "[1.0]", "[0,4]") + "}", four, "whole numbers");
    check(R"({"a":)" + entry("\"F32\"", "[-1]", "[0,4]") + "}", four, "whole numbers");
    check(R"({"a":)" + entry("\"F32\"", "1", "[0,4]") + "}", four, "no list");
    check(R"({"a":)" + entry("\"F32\"", "[1]", "[0,4,4]") + "}", four, "no range");
    check(R"({"a":)" + entry("\"F32\"", "[1]", "[4,0]") + "}", four, "no range");
    check(R"({"a":)" + entry("\"F32\"", "[2]", "[0,4]") + "}", four, "expected 8");
    check(R"({"a":)" + entry("\"F32\"", "[4294967296,4294967296]", "[0,0]") + "}", "",
          "shape and dtype");
    check(R"({"a":)" + entry("\"U8\"", "[4]", "[1,5]") + "}", four + "x", "leave a gap");
    check(R"({"a":)" + entry("\"U8\"", "[2]", "[0,2]") + R"(,"b":)" +
              entry("\"U8\"", "[3]", "[1,4]") + "}",
          four, "overlap");
    check(R"({"a":)" + entry("\"U8\"", "[5]", "[0,5]") + "}", four, "expected 5");
    check(R"({"a":)" + entry("\"U8\"", "[4]", "[0,4]") + R"(,"a":)" +
              entry("\"U8\"", "[4]", "[0,4]") + "}",
          four, "'a' twice");
    check(R"({"__metadata__":{"a":1}})", "", "metadata that is no text");
    check(R"({"__metadata__":[]})", "", "metadata that is no dictionary");
    check(R"({"__metadata__":{"fabric.state":"{}"}})", "", "incomplete header");
    write_bytes(path, std::string(8, '\xff') + "{}");
    check_error(path, "expected at most 100000000");
    write_bytes(path, std::string("\x00\xe1\xf5\x05\0\0\0\0", 8) + "{}");  // 100 MB, less there
    check_error(path, "too short");
    CHECK_FALSE(is_safetensors(InputFile(path)));

    // Shapes with no elements, scalars and spaces behind the header are in order.
    write_bytes(path, file_of(R"({"s":)" + entry("\"F32\"", "[]", "[0,4]") + R"(,"e":)" +
                                  entry("\"I64\"", "[3,0]", "[4,4]") + "}   ",
                              four));
    CHECK(read(path)["e"].tensor().sizes() == at::IntArrayRef({3, 0}));
    CHECK(read(path)["s"].tensor().dim() == 0);
  }

  TEST_CASE("what breaks a rule of the index is an error that names it") {
    const TemporaryFolder folder;
    const fs::path path = folder / "f.index.json";
    write_bytes(folder / "p.safetensors",
                file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x"));
    const auto check = [&](const std::string& json, const std::string& text) {
      CAPTURE(json);
      write_bytes(path, json);
      check_error(path, text);
    };
    check("[]", "no weight_map");
    check(R"({"weight_map":3})", "no weight_map");
    check(R"({"weight_map":{"a":3}})", "no file");
    check(R"({"weight_map":{"a":"../p.safetensors"}})", "no file beside it");
    check(R"({"weight_map":{"a":".."}})", "no file beside it");
    check(R"({"weight_map":{"b":"p.safetensors"}})", "'b' in p.safetensors");
    check(R"({"weight_map":{"a":"q.safetensors"}})", "cannot be opened");
    check(R"({"metadata":{"fabric.state":"{}"},"weight_map":{}})", "incomplete");
    write_bytes(path, R"({"weight_map":{"a":"p.safetensors"}})");
    CHECK(read(path)["a"].tensor().item<int>() == 'x');
  }

  TEST_CASE("several threads read one file") {
    const TemporaryFolder folder;
    const StateDict state{{"a", at::rand({1 << 20})}, {"b", at::rand({1 << 20})}};
    write_safetensors(folder / "m", state, 0, true);
    const StateValue got = read(folder / "m");
    std::vector<std::string> differences(4);
    std::vector<std::thread> threads;
    for (std::string& each : differences) {
      threads.emplace_back([&] { each = difference(got, state); });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    for (const std::string& each : differences) {
      CHECK(each == "");
    }
  }

  TEST_CASE("Python's library and this one read each other's files") {
    if (!python_has("torch, safetensors")) {
      return;
    }
    const TemporaryFolder folder;
    const std::string script = python_script("safetensors_files.py");
    PythonResult result = run_python(script + " write '" + folder.path().string() + "'");
    REQUIRE_MESSAGE(result.status == 0, result.output);
    check_same_items(read(folder / "all.safetensors").dict(), everything());
    check_same_items(read(folder / "all.safetensors", true).dict(), everything());
    const StateDict tied = read(folder / "tied.safetensors").dict();
    CHECK(tied.size() == 2);
    CHECK(tied["head.weight"].stored().bytes() == tied["embed.weight"].stored().bytes());
    CHECK(tied["head.weight"].tensor().eq(0.25).all().item<bool>());
    const StateDict split = read(folder / "split.safetensors.index.json").dict();
    CHECK(split.size() == 4);
    CHECK(at::equal(split["layer.1.weight"].tensor(),
                    at::arange(16, at::kFloat).remainder(7).view({4, 4}) + 1));

    for (const auto& entry : fs::directory_iterator(folder.path())) {
      fs::remove(entry.path());
    }
    write_safetensors(folder / "all.safetensors", everything(), 0, true);
    write_safetensors(folder / "split.safetensors", everything(), 64, true);
    const at::Tensor weight = at::full({11, 3}, 0.25);
    write_safetensors(folder / "tied.safetensors",
                      StateDict{{"embed.weight", weight}, {"head.weight", weight}}, 0, true);
    write_safetensors(
        folder / "nested.safetensors",
        StateDict{{"model", StateDict{{"weight", weight}}},
                  {"optimizer", StateDict{{"state", StateDict{{0, StateDict{{"exp_avg", weight + 1},
                                                                            {"step", 3}}}}}}}},
        0, true);
    result = run_python(script + " check '" + folder.path().string() + "'");
    CHECK_MESSAGE(result.status == 0, result.output);
  }
}
