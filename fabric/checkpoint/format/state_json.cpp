#include <fabric/checkpoint/format/state_json.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include <c10/core/ScalarType.h>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/base64.h>
#include <fabric/checkpoint/format/json.h>

namespace fabric::detail {
namespace {

constexpr std::array<const char*, 5> kListTags = {"", "$tuple", "$set", "$frozenset", "$size"};

// ---- writing ------------------------------------------------------------------------------------

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

// ---- reading ------------------------------------------------------------------------------------

// Turns what the JSON parser made into the state it stands for.
class Reader {
 public:
  Reader(std::string_view what, const FindTensor& find) : what_(what), find_(find) {}

  StateValue value(const StateValue& json) {
    check(depth_ <= kStateDepth, "is nested too deep");  // one more: the parts of a $complex
    ++depth_;
    StateValue made = made_of(json);
    --depth_;
    return made;
  }

 private:
  template <class... Text>
  void check(bool condition, const Text&... text) const {
    FABRIC_CHECK(Checkpoint, condition, "[fabric.load] ", what_, " ", text...,
                 ". Hint: the file is damaged, or a newer version has written it.");
  }

  StateValue made_of(const StateValue& json) {
    if (json.is_list()) {
      return list(json, StateList::Kind::list);
    }
    if (!json.is_dict()) {
      check(json.is_none() || json.is_bool() || json.is_integer() || json.is_real() ||
                json.is_string(),
            "has an integer of more than 64 bits that is no $integer");
      return json;
    }
    if (json.dict().size() == 1 && json.dict().begin()->first.string().starts_with('$')) {
      const auto& [tag, inside] = *json.dict().begin();
      return tagged(tag.string(), inside);
    }
    return object(json.dict(), /*any_key=*/false);
  }

  StateValue tagged(const std::string& tag, const StateValue& inside) {
    for (std::size_t kind = 1; kind < kListTags.size(); ++kind) {
      if (tag == kListTags[kind]) {
        check(inside.is_list(), "has a ", tag, " that is no list");
        return list(inside, static_cast<StateList::Kind>(kind));
      }
    }
    if (tag == "$dict" || tag == "$ordered") {
      check(inside.is_dict() || inside.is_list(), "has a ", tag, " of another type");
      StateDict dict = inside.is_dict() ? object(inside.dict(), true) : pairs(inside.list());
      dict.ordered = tag == "$ordered";
      return dict;
    }
    if (tag == "$complex") {
      check(inside.is_list() && inside.list().size() == 2, "has a $complex that is no pair");
      return std::complex<double>(real(inside.list()[0]), real(inside.list()[1]));
    }
    check(inside.is_string(), "has a ", tag, " that is no text");
    return named(tag, inside.string());
  }

  StateValue named(const std::string& tag, const std::string& text) {
    if (tag == "$tensor" || tag == "$parameter") {
      StoredTensor tensor = find_(text);
      tensor.requires_grad = tag == "$parameter";
      return tensor;
    }
    if (tag == "$real") {
      check(text == "nan" || text == "inf" || text == "-inf", "has the $real '", text, "'");
      constexpr double kInfinity = std::numeric_limits<double>::infinity();
      return text == "nan" ? std::nan("") : text == "inf" ? kInfinity : -kInfinity;
    }
    if (tag == "$dtype") {
      const auto& dtypes = c10::getStringToDtypeMap();
      const auto known = dtypes.find(text);
      check(known != dtypes.end(), "has the dtype '", text, "', which is none");
      return known->second;
    }
    if (tag == "$device") {
      return device(text);
    }
    check(tag == "$bytes" || tag == "$text" || tag == "$integer", "has the mark ", tag,
          ", which means nothing here");
    std::optional<std::string> bytes = from_base64(text);
    check(bytes.has_value(), "has a ", tag, " that is not base64");
    if (tag == "$bytes") {
      return Bytes{std::move(*bytes)};
    }
    if (tag == "$integer") {
      return BigInteger{std::move(*bytes)};
    }
    return std::move(*bytes);
  }

  StateValue device(const std::string& text) {
    try {
      return c10::Device(text);
    } catch (const std::exception&) {
      check(false, "has the device '", text, "', which is none");
      throw;
    }
  }

  double real(const StateValue& json) {
    const StateValue number = value(json);
    check(number.is_real(), "has a $complex of other parts than real numbers");
    return number.as<double>();
  }

  StateValue list(const StateValue& json, StateList::Kind kind) {
    StateList made(kind);
    made.reserve(json.list().size());
    for (const StateValue& element : json.list()) {
      made.push_back(value(element));
    }
    return made;
  }

  StateDict object(const StateDict& json, bool any_key) {
    StateDict made;
    for (const auto& [key, element] : json) {
      check(any_key || !key.string().starts_with('$'), "has the mark ", key.string(),
            " beside other keys");
      made.append(key, value(element));
    }
    return made;
  }

  StateDict pairs(const StateList& json) {
    StateDict made;
    for (const StateValue& pair : json) {
      check(pair.is_list() && pair.list().size() == 2, "has a dictionary of other things than pairs");
      StateValue key = value(pair.list()[0]);
      check(!key.is_tensor(), "has a tensor as a key");
      made.append(std::move(key), value(pair.list()[1]));
    }
    return made;
  }

  std::string_view what_;
  const FindTensor& find_;
  std::size_t depth_ = 0;
};

}  // namespace

std::string state_to_json(const StateValue& state, const NameTensor& name_of) {
  Writer writer(name_of);
  writer.value(state);
  return writer.take();
}

StateValue state_from_json(std::string_view text, std::string_view what, const FindTensor& find) {
  return Reader(what, find).value(parse_json(text, what));
}

}  // namespace fabric::detail
