#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include <c10/core/ScalarType.h>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/base64.h>
#include <fabric/checkpoint/format/json.h>
#include <fabric/checkpoint/format/state_json.h>

namespace fabric::detail {
namespace {

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
      check(pair.is_list() && pair.list().size() == 2,
            "has a dictionary of other things than pairs");
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

StateValue state_from_json(std::string_view text, std::string_view what, const FindTensor& find) {
  return Reader(what, find).value(parse_json(text, what));
}

}  // namespace fabric::detail
