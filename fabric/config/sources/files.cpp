#include <fabric/config/sources/files.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <accelerators/text.h>
#include <fabric/config/tree/builder.h>
#include <fabric/config/tree/json.h>
#include <fabric/config/tree/source_text.h>
#include <fabric/config/tree/yaml.h>

namespace fabric::config::detail {
namespace {

std::string content_of(const std::string& path, const std::string& name, const Place& place) {
  const auto fail = [&](const std::string& why) {
    throw SourceError(place, "the file " + shown(name) + " cannot be read: " + why);
  };
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    fail("it is a folder");
  }
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    fail(errno != 0 ? std::strerror(errno) : "it cannot be opened");
  }
  // Not by its size: a pipe has none.
  std::string text;
  std::string chunk(std::size_t{1} << 16, '\0');
  while (file && text.size() <= kMaxSourceBytes) {
    file.read(chunk.data(), static_cast<std::streamsize>(chunk.size()));
    text.append(chunk, 0, static_cast<std::size_t>(file.gcount()));
  }
  if (file.bad()) {
    fail("reading failed");
  }
  return text;
}

bool is_device(const std::string& path) {
  return path.starts_with("/dev/") || path.starts_with("/proc/");
}

}  // namespace

bool Files::is_inline(std::string_view text) {
  text = fabric::detail::trim(text);
  return text.starts_with('{') || text.find('\n') != std::string_view::npos;
}

std::string absolute_name(const std::string& name, const Place& place, const std::string& folder) {
  const std::filesystem::path begin = place.given() ? place.source()->folder : folder;
  return (begin / std::filesystem::path(name)).lexically_normal().string();
}

Node Files::load(const std::string& name, const Place& place) {
  const std::string path = absolute_name(name, place, folder_);
  const auto known = read_.find(path);
  if (known != read_.end()) {
    return known->second;
  }
  const std::string text = content_of(path, name, place);
  auto source = std::make_shared<Source>();
  source->kind = Source::file;
  source->name = path == kStandardInput ? "standard input" : name;
  source->folder = is_device(path) ? folder_ : std::filesystem::path(path).parent_path().string();
  Node node = path.ends_with(".json") ? read_json(text, source) : read_yaml(text, source);
  if (node.is_null()) {
    node = Node::map();  // an empty file says nothing
    node.place = Place(source, 1, 1);
  }
  return read_.emplace(path, std::move(node)).first->second;
}

Node Files::parse(const Node& text) const {
  auto source = std::make_shared<Source>(*text.place.source());
  try {
    Node node = read_yaml(text.text, source);
    if (source->kind != Source::file) {
      // Lines and columns of the text would be taken for those of a file.
      const auto place_all = [&](auto& self, Node& part) -> void {
        part.place = part.key_place = text.place;
        for (Node& item : part.items) {
          self(self, item);
        }
      };
      place_all(place_all, node);
    }
    return node;
  } catch (const SourceError& error) {
    throw SourceError(text.place, error.what());
  }
}

}  // namespace fabric::config::detail
