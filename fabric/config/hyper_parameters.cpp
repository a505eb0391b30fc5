#include <fabric/config/hyper_parameters.h>

#include <cstdint>
#include <utility>

#include <accelerators/error.h>
#include <fabric/checkpoint/checkpoint.h>
#include <fabric/checkpoint/format/json.h>
#include <fabric/config/run/resolved_tree.h>
#include <fabric/config/tree/emitter.h>
#include <fabric/config/types/words.h>

namespace fabric::config {
namespace {

using detail::Node;

constexpr const char* kKey = "hyper_parameters";

StateValue to_state(const Node& node) {
  switch (node.kind) {
    case Node::Kind::null:
      return {};
    case Node::Kind::list: {
      StateList list;
      for (const Node& item : node.items) {
        list.push_back(to_state(item));
      }
      return list;
    }
    case Node::Kind::map: {
      StateDict dict;
      for (const Node& item : node.items) {
        dict.append(item.key, to_state(item));
      }
      return dict;
    }
    case Node::Kind::scalar:
      break;
  }
  if (node.style == Node::Style::plain) {
    if (const std::optional<bool> truth = detail::bool_of(node.text)) {
      return *truth;
    }
    if (const std::optional<detail::Integer> integer = detail::integer_of(node.text)) {
      if (integer->negative && integer->magnitude > 0) {
        return -static_cast<std::int64_t>(integer->magnitude - 1) - 1;
      }
      return integer->magnitude;
    }
    if (const std::optional<double> real = detail::real_of(node.text)) {
      return *real;
    }
  }
  return node.text;
}

void append_json(std::string& to, const StateValue& value, const std::string& path) {
  if (value.is_none()) {
    to += "null";
  } else if (value.is_bool()) {
    to += value.as<bool>() ? "true" : "false";
  } else if (value.is_integer()) {
    to += std::to_string(value.as<std::int64_t>());
  } else if (std::holds_alternative<BigInteger>(value.variant())) {
    to += std::to_string(value.as<std::uint64_t>());
  } else if (value.is_real()) {
    to += detail::shortest(value.as<double>());  // YAML reads it, infinities too
  } else if (value.is_string()) {
    // References were followed before it was saved.
    fabric::detail::append_json_string(to, detail::escape_references(value.string()));
  } else if (value.is_list()) {
    to += '[';
    for (std::size_t i = 0; i < value.list().size(); ++i) {
      to += i == 0 ? "" : ", ";
      append_json(to, value.list()[i], path + "[" + std::to_string(i) + "]");
    }
    to += ']';
  } else if (value.is_dict()) {
    to += '{';
    const char* before = "";
    for (const auto& [key, item] : value.dict()) {
      FABRIC_CHECK(Checkpoint, key.is_string(), "[fabric.config] a hyper-parameter has a key that ",
                   "is no text; got ", key.description(), " in ", path);
      to += before;
      fabric::detail::append_json_string(to, key.string());
      to += ": ";
      append_json(to, item, path + "." + key.string());
      before = ", ";
    }
    to += '}';
  } else {
    FABRIC_CHECK(Checkpoint, false,
                 "[fabric.config] a hyper-parameter that no text stands for; got ",
                 value.description(), " in ", path);
  }
}

}  // namespace

StateDict HyperParameters::state_dict() const {
  FABRIC_CHECK(Misconfiguration, static_cast<bool>(resolved_),
               "[fabric.config] there are no hyper-parameters to save. Hint: a parser makes them.");
  return to_state(resolved_.tree()->values).dict();
}

HyperParameters hyper_parameters(const Resolved& resolved) {
  return HyperParameters(resolved);
}

std::string read_hyper_parameters(const std::filesystem::path& checkpoint) {
  const StateValue file = load(checkpoint);
  FABRIC_CHECK(Checkpoint, file.contains(kKey) && file[kKey].is_dict(), "[fabric.config] ",
               checkpoint.string(), " has no dictionary '", kKey, "'. Hint: save one: {\"", kKey,
               "\", fabric::config::hyper_parameters(config.resolved())}.");
  std::string text;
  append_json(text, file[kKey], kKey);
  return text;
}

}  // namespace fabric::config
