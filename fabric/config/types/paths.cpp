#include <fabric/config/types/paths.h>

#include <filesystem>

#include <fabric/config/tree/node.h>
#include <fabric/config/types/scalars.h>
#include <fabric/config/types/words.h>

namespace fabric::config::detail {
namespace {

std::string read_path(const ScalarType& type, void* value, const Node& node) {
  std::string wrong = check_text(node, type.name);
  if (wrong.empty()) {
    *static_cast<std::filesystem::path*>(value) = absolute_path(node);
  }
  return wrong;
}

Node write_path(const ScalarType&, const void* value) {
  // Absolute, as the file that it gets into may lie in any folder.
  return Node::scalar(
      absolute_path(Node::scalar(static_cast<const std::filesystem::path*>(value)->string())),
      Node::Style::quoted);
}

}  // namespace

std::string absolute_path(const Node& scalar) {
  const std::filesystem::path path = scalar.text;
  if (path.empty() || path.is_absolute()) {
    return scalar.text;
  }
  const std::filesystem::path folder = scalar.place.given()
                                           ? std::filesystem::path(scalar.place.source()->folder)
                                           : std::filesystem::current_path();
  return (folder / path).lexically_normal().string();
}

const Type& builtin(Of<std::filesystem::path>) {
  static const ScalarType type{{Type::Kind::scalar}, "path", read_path, write_path, false, true};
  return type;
}

}  // namespace fabric::config::detail
