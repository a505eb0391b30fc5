// Texts of YAML and JSON as nodes; what was read is written and read again.
#include <tests/fuzz/fuzz.h>

#include <memory>
#include <stdexcept>
#include <string>

#include <accelerators/error.h>
#include <fabric/config/tree/builder.h>
#include <fabric/config/tree/emitter.h>
#include <fabric/config/tree/json.h>
#include <fabric/config/tree/yaml.h>

using namespace fabric::config::detail;

namespace {

// A reference that the text really holds is written with two dollars; those are taken for texts
// here.
bool has_dollar(const Node& node) {
  if (node.text.find("${") != std::string::npos) {
    return true;
  }
  for (const Node& item : node.items) {
    if (has_dollar(item)) {
      return true;
    }
  }
  return false;
}

void check_round_trip(Node node) {
  if (!node.is_map() || has_dollar(node)) {
    return;
  }
  // Keys with a plus are written without: what is written has been merged.
  const auto settle = [](auto& self, Node& part) -> bool {
    for (Node& item : part.items) {
      if (item.append || item.key.ends_with('+') || !self(self, item)) {
        return false;
      }
      if (item.is_scalar()) {
        item.style = Node::Style::quoted;
      }
    }
    return true;
  };
  if (!settle(settle, node)) {
    return;
  }
  const std::string text = to_yaml(node);
  const Node again = read_yaml(text, std::make_shared<fabric::config::Source>());
  if (!again.same_value(node)) {
    throw std::logic_error("what was written is read as something else: " + text.substr(0, 1000));
  }
}

}  // namespace

void fuzz::read_input(std::string_view input) {
  const auto source = std::make_shared<fabric::config::Source>();
  try {
    check_round_trip(read_json(input, source));
  } catch (const SourceError&) {
  }
  Node node;
  try {
    node = read_yaml(input, source);
  } catch (const SourceError& error) {
    throw fabric::CheckpointError(error.place.text() + ": " + error.what());
  }
  check_round_trip(std::move(node));
}
