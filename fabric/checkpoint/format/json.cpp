#include <fabric/checkpoint/format/json.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/utf8.h>

namespace fabric::detail {
namespace {

// Makes the values of a text as the parser meets them.
class Builder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Builder(std::string_view what) : what_(what) {}

  StateValue take() { return std::move(root_); }

  bool null() override { return add({}); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(std::int64_t value) override { return add(value); }
  bool number_unsigned(std::uint64_t value) override { return add(value); }
  bool number_float(double value, const std::string& text) override {
    // The parser falls back to this for integers that it has no type for.
    FABRIC_CHECK(Checkpoint, text.find_first_of(".eE") != std::string::npos, "[fabric.load] ",
                 what_, " has the number ", text, "; expected integers of at most 64 bits");
    return add(value);
  }
  bool string(std::string& value) override { return add(std::move(value)); }
  bool binary(nlohmann::json::binary_t& value) override {
    return add(std::string(value.begin(), value.end()));
  }
  bool start_object(std::size_t) override { return open(StateDict()); }
  bool key(std::string& key) override {
    open_.back().key = std::move(key);
    return true;
  }
  bool end_object() override {
    check_keys(open_.back().container.dict());
    return close();
  }
  bool start_array(std::size_t) override { return open(StateList()); }
  bool end_array() override { return close(); }
  bool parse_error(std::size_t position, const std::string& token,
                   const nlohmann::json::exception&) override {
    std::string shown = token.substr(0, 40);
    std::replace_if(
        shown.begin(), shown.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
    throw CheckpointError(str("[fabric.load] ", what_, " is not JSON; got '", shown,
                              "' at its byte ", position, ". Hint: the file is damaged."));
  }

 private:
  struct Open {
    StateValue container;
    std::string key;  // of what comes next, in a dictionary
  };

  bool open(StateValue container) {
    FABRIC_CHECK(Checkpoint, open_.size() < kJsonDepth, "[fabric.load] ", what_,
                 " is nested more than ", kJsonDepth, " deep");
    open_.push_back({std::move(container), {}});
    return true;
  }
  bool close() {
    StateValue done = std::move(open_.back().container);
    open_.pop_back();
    return add(std::move(done));
  }
  bool add(StateValue value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (Open& top = open_.back(); top.container.is_dict()) {
      top.container.dict().append(std::move(top.key), std::move(value));
    } else {
      top.container.list().push_back(std::move(value));
    }
    return true;
  }
  void check_keys(const StateDict& dict) const {
    std::vector<std::string_view> keys;
    keys.reserve(dict.size());
    for (const auto& [key, value] : dict) {
      keys.push_back(key.string());
    }
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    FABRIC_CHECK(Checkpoint, twice == keys.end(), "[fabric.load] ", what_, " has the key '",
                 twice == keys.end() ? std::string_view() : *twice, "' twice; expected it once");
  }

  std::string_view what_;
  StateValue root_;
  std::vector<Open> open_;
};

}  // namespace

StateValue parse_json(std::string_view text, std::string_view what) {
  // The parser takes a zero byte for the end of the text.
  FABRIC_CHECK(Checkpoint, text.find('\0') == std::string_view::npos, "[fabric.load] ", what,
               " is not JSON; got a zero byte in it. Hint: the file is damaged.");
  Builder builder(what);
  nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

void append_json_string(std::string& to, std::string_view text) {
  FABRIC_CHECK(Checkpoint, is_strict_utf8(text), "[fabric.save] a text or key is not UTF-8; got ",
               text.size(), " bytes; expected UTF-8. Hint: fabric::Bytes hold any bytes.");
  constexpr std::string_view kHex = "0123456789abcdef";
  to.push_back('"');
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      to.push_back('\\');
      to.push_back(c);
    } else if (static_cast<unsigned char>(c) < 0x20) {
      to.append("\\u00");
      to.push_back(kHex[static_cast<std::size_t>(c >> 4)]);
      to.push_back(kHex[static_cast<std::size_t>(c & 15)]);
    } else {
      to.push_back(c);
    }
  }
  to.push_back('"');
}

void append_json_real(std::string& to, double value) {
  std::array<char, 40> digits{};
  const auto end = std::to_chars(digits.begin(), digits.end(), value).ptr;
  const std::string_view text(digits.data(), static_cast<std::size_t>(end - digits.data()));
  to.append(text);
  if (text.find_first_of(".e") == std::string_view::npos) {
    to.append(".0");  // else it would be read as an integer
  }
}

}  // namespace fabric::detail
