#include <fabric/checkpoint/format/state_json.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include <c10/core/ScalarType.h>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/base64.h>
#include <fabric/checkpoint/format/json.h>
#include <fabric/checkpoint/format/utf8.h>

namespace fabric::detail {
namespace {

class Writer {
 public:
  explicit Writer(const NameTensor& name_of) : name_of_(name_of) {}

  std::string take() { return std::move(text_); }

  void value(const StateValue& value) {
    FABRIC_CHECK(Checkpoint, depth_ < kStateDepth, "[fabric.save] the state is nested more than ",
                 kStateDepth, " deep");
    ++depth_;
    std::visit(*this, value.variant());
    --depth_;
  }

  void operator()(std::monostate) { text_ += "null"; }
  void operator()(bool value) { text_ += value ? "true" : "false"; }
  void operator()(std::int64_t value) { text_ += std::to_string(value); }
  void operator()(double value) {
    if (std::isfinite(value)) {
      append_json_real(text_, value);
    } else {
      tagged("$real", std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
    }
  }
  void operator()(const std::complex<double>& value) {
    text_ += R"({"$complex":[)";
    (*this)(value.real());
    text_ += ',';
    (*this)(value.imag());
    text_ += "]}";
  }
  void operator()(const std::string& value) {
    if (is_strict_utf8(value)) {
      append_json_string(text_, value);
    } else {
      tagged("$text", to_base64(value));
    }
  }
  void operator()(const BigInteger& value) { tagged("$integer", to_base64(value.bytes)); }
  void operator()(const Bytes& value) { tagged("$bytes", to_base64(value.data)); }
  void operator()(const StoredTensor& value) {
    tagged(value.requires_grad ? "$parameter" : "$tensor", name_of_(value));
  }
  void operator()(const StateList& values) {
    const char* tag = kListTags.at(static_cast<std::size_t>(values.kind()));
    if (*tag != '\0') {
      open_tag(tag);
    }
    text_ += '[';
    for (std::size_t i = 0; i < values.size(); ++i) {
      text_ += i == 0 ? "" : ",";
      value(values[i]);
    }
    text_ += *tag != '\0' ? "]}" : "]";
  }
  void operator()(const StateDict& dict) {
    const auto is_text = [](const StateDict::Item& item) {
      return item.first.is_string() && is_strict_utf8(item.first.string());
    };
    const auto is_tag = [](const StateDict::Item& item) {
      return item.first.string().starts_with('$');
    };
    const bool texts = std::all_of(dict.begin(), dict.end(), is_text);
    const bool tag = dict.ordered || !texts || std::any_of(dict.begin(), dict.end(), is_tag);
    if (tag) {
      open_tag(dict.ordered ? "$ordered" : "$dict");
    }
    check_keys(dict);
    if (texts) {
      object(dict);
    } else {
      pairs(dict);
    }
    text_ += tag ? "}" : "";
  }
  void operator()(c10::ScalarType value) { tagged("$dtype", c10::getDtypeNames(value).first); }
  void operator()(c10::Device value) { tagged("$device", value.str()); }

 private:
  void open_tag(const char* tag) {
    text_ += "{\"";
    text_ += tag;
    text_ += "\":";
  }
  void tagged(const char* tag, std::string_view text) {
    open_tag(tag);
    append_json_string(text_, text);
    text_ += '}';
  }
  void object(const StateDict& dict) {
    text_ += '{';
    bool first = true;
    for (const auto& [key, element] : dict) {
      text_ += std::exchange(first, false) ? "" : ",";
      append_json_string(text_, key.string());
      text_ += ':';
      value(element);
    }
    text_ += '}';
  }
  void pairs(const StateDict& dict) {
    text_ += '[';
    bool first = true;
    for (const auto& [key, element] : dict) {
      text_ += std::exchange(first, false) ? "[" : ",[";
      FABRIC_CHECK(Checkpoint, !key.is_tensor(), "[fabric.save] a dictionary has ",
                   key.description(), " as a key; expected a text or a number");
      value(key);
      text_ += ',';
      value(element);
      text_ += ']';
    }
    text_ += ']';
  }
  static void check_keys(const StateDict& dict) {
    std::vector<std::string_view> keys;
    for (const auto& [key, value] : dict) {
      if (key.is_string()) {
        keys.push_back(key.string());
      }
    }
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    FABRIC_CHECK(Checkpoint, twice == keys.end(), "[fabric.save] a dictionary has the key '",
                 twice == keys.end() ? std::string_view() : *twice, "' twice; expected it once");
  }

  const NameTensor& name_of_;
  std::string text_;
  std::size_t depth_ = 0;
};

}  // namespace

std::string state_to_json(const StateValue& state, const NameTensor& name_of) {
  Writer writer(name_of);
  writer.value(state);
  return writer.take();
}

}  // namespace fabric::detail
