// States as JSON, and indexes of split safetensors checkpoints; what was read is written and read
// again.
#include <tests/fuzz/fuzz.h>

#include <stdexcept>
#include <string>

#include <ATen/ATen.h>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/json.h>
#include <fabric/checkpoint/format/safetensors_index.h>
#include <fabric/checkpoint/format/state_json.h>
#include <tests/support/state_trees.h>

void fuzz::read_input(std::string_view input) {
  using namespace fabric::detail;
  touch(parse_json(input, "input"));
  try {
    parse_safetensors_index(input, "input");
  } catch (const fabric::CheckpointError&) {
  }
  static const fabric::StoredTensor tensor(at::ones({2}));
  const auto find = [](const std::string& name) {
    if (name.empty()) {
      throw fabric::CheckpointError("no tensor without a name");
    }
    return tensor;
  };
  const fabric::StateValue state = state_from_json(input, "input", find);
  touch(state);
  std::string text;
  try {
    text = state_to_json(state, [](const fabric::StoredTensor&) { return "t"; });
  } catch (const fabric::CheckpointError&) {
    return;  // a key of a dictionary of pairs that comes twice
  }
  const std::string found = difference(state, state_from_json(text, "what was written", find));
  if (!found.empty()) {
    throw std::logic_error(found);
  }
}
