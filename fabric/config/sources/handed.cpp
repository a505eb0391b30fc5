#include <fabric/config/sources/handed.h>

#include <map>
#include <memory>

#include <nlohmann/json.hpp>

#include <accelerators/error.h>
#include <fabric/config/sources/merge.h>

namespace fabric::config::detail {
namespace {

using Json = nlohmann::json;

constexpr const char* kVariable = "FABRIC_HANDED_CONFIG_";
constexpr std::size_t kPiece = 100'000;  // Linux takes 128 KiB in one variable
constexpr std::size_t kMost = 1'000'000;

// Tells structs apart: the options of a parser are the same in all processes of a program.
std::string names_of(const StructType& type) {
  std::string names;
  for (const std::string& name : option_names(type)) {
    names += name + ' ';
  }
  return names;
}

class Writer {
 public:
  Json write(const Node& node) {
    Json json{{"k", static_cast<int>(node.kind)}, {"s", static_cast<int>(node.style)}};
    if (!node.key.empty()) {
      json["n"] = node.key;
    }
    if (!node.text.empty()) {
      json["t"] = node.text;
    }
    if (node.place.given()) {
      json["p"] = {number_of(node.place.source()), node.place.line(), node.place.column()};
    }
    for (const Node& item : node.items) {
      json["i"].push_back(write(item));
    }
    return json;
  }
  Json sources() { return std::move(sources_); }

 private:
  std::size_t number_of(const std::shared_ptr<const Source>& source) {
    const auto [at, added] = numbers_.emplace(source.get(), numbers_.size());
    if (added) {
      sources_.push_back({static_cast<int>(source->kind), source->name, source->folder});
    }
    return at->second;
  }

  std::map<const Source*, std::size_t> numbers_;
  Json sources_ = Json::array();
};

Node read(const Json& json, const std::vector<std::shared_ptr<const Source>>& sources) {
  Node node;
  node.kind = static_cast<Node::Kind>(json.at("k").get<int>());
  node.style = static_cast<Node::Style>(json.at("s").get<int>());
  node.key = json.value("n", "");
  node.text = json.value("t", "");
  if (const auto place = json.find("p"); place != json.end()) {
    node.place = node.key_place =
        Place(sources.at(place->at(0).get<std::size_t>()), place->at(1), place->at(2));
  }
  if (const auto items = json.find("i"); items != json.end()) {
    for (const Json& item : *items) {
      node.items.push_back(read(item, sources));
    }
  }
  return node;
}

}  // namespace

std::string handed_variable(std::size_t number) {
  return kVariable + std::to_string(number);
}

Variables variables_to_hand(const StructType& type, const Node& given) {
  Writer writer;
  Json json{{"names", names_of(type)}, {"given", writer.write(given)}};
  json["sources"] = writer.sources();
  const std::string text = json.dump();
  FABRIC_CHECK(
      Misconfiguration, text.size() <= kMost, "[fabric.launch] a configuration of ", text.size(),
      " bytes is too large for the processes that this program starts of itself; expected ",
      "at most ", kMost, ". Hint: start it with mpirun -np N.");
  Variables variables;
  for (std::size_t at = 0; at < text.size(); at += kPiece) {
    variables.emplace_back(handed_variable(variables.size()), text.substr(at, kPiece));
  }
  return variables;
}

std::optional<Node> handed_values(const StructType& type, const Variables& variables) {
  std::string text;
  for (std::size_t number = 0;; ++number) {
    const std::string* piece = find_variable(variables, handed_variable(number));
    if (piece == nullptr) {
      break;
    }
    text += *piece;
  }
  if (text.empty()) {
    return std::nullopt;
  }
  try {
    const Json json = Json::parse(text);
    if (json.at("names") != names_of(type)) {
      return std::nullopt;
    }
    std::vector<std::shared_ptr<const Source>> sources;
    for (const Json& source : json.at("sources")) {
      sources.push_back(std::make_shared<Source>(
          Source{static_cast<Source::Kind>(source.at(0).get<int>()), source.at(1), source.at(2)}));
    }
    return read(json.at("given"), sources);
  } catch (const nlohmann::json::exception& error) {
    throw MisconfigurationError(std::string("[fabric.config] the variables ") + kVariable +
                                "… are damaged: " + error.what() +
                                ". Hint: unset them; Fabric sets them where it needs them.");
  }
}

}  // namespace fabric::config::detail
