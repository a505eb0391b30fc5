#include <fabric/checkpoint/format/tensor_names.h>

#include <algorithm>
#include <string_view>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/json.h>
#include <fabric/checkpoint/format/state_json.h>
#include <fabric/checkpoint/format/utf8.h>

namespace fabric::detail {
namespace {

std::string key_text(const StateValue& key) {
  if (key.is_string()) {
    return key.string();
  }
  return state_to_json(key, [&](const StoredTensor&) -> std::string {
    throw CheckpointError(str("[fabric.save] a dictionary has ", key.description(),
                              " as a key; expected a text or a number"));
  });
}

class Namer {
 public:
  std::vector<NamedStored> take() { return std::move(named_); }

  // `path` ends with a dot unless it is empty.
  void visit(const StateValue& value, const std::string& path, std::size_t depth) {
    FABRIC_CHECK(Checkpoint, depth < kStateDepth, "[fabric.save] the state is nested more than ",
                 kStateDepth, " deep");
    if (value.is_tensor()) {
      const std::string name = depth == 0 ? "tensor" : path.substr(0, path.size() - 1);
      FABRIC_CHECK(Checkpoint, is_strict_utf8(name),
                   "[fabric.save] the name of a tensor is not UTF-8; got ", name.size(), " bytes");
      named_.push_back({name, value.stored()});
    } else if (value.is_list()) {
      for (std::size_t i = 0; i < value.list().size(); ++i) {
        visit(value.list()[i], path + std::to_string(i) + '.', depth + 1);
      }
    } else if (value.is_dict()) {
      for (const auto& [key, element] : value.dict()) {
        visit(element, path + key_text(key) + '.', depth + 1);
      }
    }
  }

 private:
  std::vector<NamedStored> named_;
};

}  // namespace

std::vector<NamedStored> name_tensors(const StateValue& state) {
  Namer namer;
  namer.visit(state, "", 0);
  std::vector<NamedStored> named = namer.take();
  std::vector<std::string_view> names;
  for (const NamedStored& each : named) {
    names.push_back(each.name);
  }
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  FABRIC_CHECK(Checkpoint, twice == names.end(), "[fabric.save] two tensors have the name '",
               twice == names.end() ? std::string_view() : *twice,
               "' (keys joined by dots); expected each once. Hint: rename one of the keys.");
  return named;
}

}  // namespace fabric::detail
