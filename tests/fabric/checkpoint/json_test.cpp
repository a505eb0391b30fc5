#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>

#include <fabric/checkpoint/format/base64.h>
#include <fabric/checkpoint/format/json.h>
#include <fabric/checkpoint/format/state_json.h>
#include <fabric/checkpoint/format/utf8.h>
#include <tests/support/state_trees.h>

using namespace fabric;
using namespace fabric::detail;

namespace {

// Tensors by number.
struct Numbered {
  std::string write(const StateValue& state) {
    return state_to_json(state, [this](const StoredTensor& tensor) {
      tensors.push_back(tensor);
      return std::to_string(tensors.size() - 1);
    });
  }
  StateValue read(const std::string& json) const {
    return state_from_json(
        json, "the text", [this](const std::string& name) { return tensors.at(std::stoul(name)); });
  }
  std::vector<StoredTensor> tensors;
};

std::string text_of(const StateValue& state) {
  return Numbered().write(state);
}

void check_error(const std::string& json, const std::string& text) {
  CAPTURE(json);
  Numbered none;
  try {
    none.read(json);
    FAIL("no error");
  } catch (const CheckpointError& error) {
    CHECK_MESSAGE(std::string(error.what()).find(text) != std::string::npos, error.what());
  }
}

std::string nested(int depth, const std::string& open, const std::string& close) {
  std::string text;
  for (int i = 0; i < depth; ++i) {
    text += open;
  }
  text += "1";
  for (int i = 0; i < depth; ++i) {
    text += close;
  }
  return text;
}

}  // namespace

TEST_SUITE("fabric.checkpoint.json") {
  TEST_CASE("what JSON has stands as it is") {
    CHECK(text_of({}) == "null");
    CHECK(text_of(true) == "true");
    CHECK(text_of(std::numeric_limits<std::int64_t>::min()) == "-9223372036854775808");
    CHECK(text_of(1.0) == "1.0");
    CHECK(text_of(-0.0) == "-0.0");
    CHECK(text_of(0.1) == "0.1");
    CHECK(text_of(1e300) == "1e+300");
    CHECK(text_of("a\"\\\n\x01é") == R"("a\"\\\u000a\u0001é")");
    CHECK(text_of(StateList{1, "b", {}}) == R"([1,"b",null])");
    CHECK(text_of(StateDict{{"b", 1}, {"a", StateDict{}}}) == R"({"b":1,"a":{}})");
  }

  TEST_CASE("all else is marked") {
    CHECK(text_of(std::nan("")) == R"({"$real":"nan"})");
    CHECK(text_of(-std::numeric_limits<double>::infinity()) == R"({"$real":"-inf"})");
    CHECK(text_of(std::complex<double>(1, -2.5)) == R"({"$complex":[1.0,-2.5]})");
    CHECK(text_of(Bytes{std::string("\0\1\2", 3)}) == R"({"$bytes":"AAEC"})");
    CHECK(text_of(std::string("\xff")) == R"({"$text":"/w=="})");
    CHECK(text_of(std::numeric_limits<std::uint64_t>::max()) == R"({"$integer":"//////////8A"})");
    CHECK(text_of(StateList({1, 2}, StateList::Kind::tuple)) == R"({"$tuple":[1,2]})");
    CHECK(text_of(StateDict{{0, "a"}, {"b", 1}}) == R"({"$dict":[[0,"a"],["b",1]]})");
    CHECK(text_of(StateDict{{"$a", 1}}) == R"({"$dict":{"$a":1}})");
    StateDict ordered{{"a", 1}};
    ordered.ordered = true;
    CHECK(text_of(ordered) == R"({"$ordered":{"a":1}})");
    CHECK(text_of(c10::kBFloat16) == R"({"$dtype":"bfloat16"})");
    CHECK(text_of(c10::Device("cuda:3")) == R"({"$device":"cuda:3"})");
    CHECK(text_of(at::ones({2})) == R"({"$tensor":"0"})");
    CHECK(text_of(at::ones({2}).set_requires_grad(true)) == R"({"$parameter":"0"})");
  }

  TEST_CASE("random states come back as they were") {
    for (std::uint64_t seed = 0; seed < 2000; ++seed) {
      CAPTURE(seed);
      const StateValue state = RandomStates(seed)();
      Numbered numbered;
      const std::string json = numbered.write(state);
      REQUIRE(difference(state, numbered.read(json)) == "");
      REQUIRE(Numbered().write(numbered.read(json)) == json);
    }
  }

  TEST_CASE("every real number comes back with its bits") {
    std::mt19937_64 random(7);
    for (int i = 0; i < 100000; ++i) {
      const double value = std::bit_cast<double>(random());
      if (std::isfinite(value)) {
        std::string json;
        append_json_real(json, value);
        const StateValue read = parse_json(json, "it");
        REQUIRE(read.is_real());
        REQUIRE(std::bit_cast<std::uint64_t>(read.as<double>()) ==
                std::bit_cast<std::uint64_t>(value));
      }
    }
  }

  TEST_CASE("what is no JSON of ours is an error that says why") {
    check_error("", "not JSON");
    check_error("{\"a\":1", "not JSON");
    check_error("[1,]", "not JSON");
    check_error("1 2", "not JSON");
    check_error("\"\xff\"", "not JSON");
    check_error("\"\\ud800\"", "not JSON");
    check_error("1e999", "not JSON");
    check_error(std::string("1\0", 2), "zero byte");
    check_error(R"({"a":1,"b":2,"a":3})", "the key 'a' twice");
    check_error("18446744073709551616", "64 bits");
    check_error("18446744073709551615", "64 bits");
    check_error(R"({"$what":"x"})", "$what");
    check_error(R"({"a":1,"$bytes":"AA=="})", "beside other keys");
    check_error(R"({"$bytes":"AB=="})", "not base64");
    check_error(R"({"$bytes":3})", "no text");
    check_error(R"({"$tuple":{}})", "no list");
    check_error(R"({"$complex":[1.0]})", "no pair");
    check_error(R"({"$complex":[1.0,2]})", "real numbers");
    check_error(R"({"$dict":[[1]]})", "pairs");
    check_error(R"({"$dict":3})", "another type");
    check_error(R"({"$real":"NaN"})", "NaN");
    check_error(R"({"$dtype":"float33"})", "float33");
    check_error(R"({"$device":"sun"})", "sun");
  }

  TEST_CASE("depth is limited in both directions") {
    const int limit = static_cast<int>(kStateDepth);
    check_error(nested(100000, "[", "]"), "deep");
    check_error(nested(100000, "{\"a\":", "}"), "deep");
    check_error(nested(limit + 1, "[", "]"), "deep");
    const std::string deepest = nested(limit - 1, R"({"$dict":[[1,)", "]]}");
    CHECK(text_of(Numbered().read(deepest)) == deepest);

    StateValue state = 1;
    for (int i = 0; i < limit; ++i) {
      state = StateList{state};
    }
    CHECK_THROWS_WITH_AS(text_of(state), doctest::Contains("nested"), CheckpointError);
  }

  TEST_CASE("a dictionary that no reader would take back is not written") {
    StateDict twice;
    twice.append("a", 1);
    twice.append("a", 2);
    CHECK_THROWS_WITH_AS(text_of(twice), doctest::Contains("'a' twice"), CheckpointError);
    StateDict tensor;
    tensor.append(at::ones({1}), 1);
    CHECK_THROWS_WITH_AS(text_of(tensor), doctest::Contains("as a key"), CheckpointError);
  }

  TEST_CASE("cut off or with a bit flipped, a text gives an error or a state") {
    Numbered numbered;
    const std::string json =
        numbered.write(StateDict{{"epoch", 3},
                                 {"lr", 1e-3},
                                 {"t", StateList({1, Bytes{"x"}}, StateList::Kind::tuple)},
                                 {"o", StateDict{{1, 2.5}}},
                                 {"w", at::ones({1})},
                                 {"d", c10::kHalf}});
    int errors = 0;
    for (std::size_t length = 0; length < json.size(); ++length) {
      CHECK_THROWS_AS(numbered.read(json.substr(0, length)), CheckpointError);
    }
    for (std::size_t bit = 0; bit < 8 * json.size(); ++bit) {
      std::string flipped = json;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
      try {
        numbered.read(flipped);
      } catch (const CheckpointError&) {
        ++errors;
      } catch (const std::out_of_range&) {  // another number of a tensor
      } catch (const std::invalid_argument&) {
      }
    }
    CHECK(errors > 500);
  }

  TEST_CASE("base64 takes back what it made, and nothing else") {
    std::mt19937_64 random(3);
    for (std::size_t length = 0; length < 70; ++length) {
      std::string bytes;
      for (std::size_t i = 0; i < length; ++i) {
        bytes.push_back(static_cast<char>(random()));
      }
      CHECK(from_base64(to_base64(bytes)) == bytes);
    }
    CHECK(to_base64("fabric") == "ZmFicmlj");
    CHECK(to_base64("fabri") == "ZmFicmk=");
    for (const char* bad :
         {"A", "AA", "AA=", "A===", "====", "AA==AA==", "A A=", "AAA\xff", "AB=="}) {
      CAPTURE(bad);
      CHECK_FALSE(from_base64(bad).has_value());
    }
  }

  TEST_CASE("UTF-8 is what the standard says") {
    CHECK(is_strict_utf8("aé漢\U0001F600"));
    CHECK(is_strict_utf8("\xf4\x8f\xbf\xbf"));
    for (const char* bad :
         {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
          "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe6\xbc", "\xc3("}) {
      CHECK_FALSE(is_strict_utf8(bad));
    }
  }
}
