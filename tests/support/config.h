// Sources and errors of configurations in tests.
#pragma once

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <unistd.h>

#include <fabric/config/error.h>
#include <fabric/config/parser.h>
#include <fabric/config/tree/node.h>
#include <fabric/config/tree/yaml.h>

namespace support {

/// A folder with files, removed at the end; the working directory of what is parsed in it.
class ConfigFolder {
 public:
  ConfigFolder() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "fabric-config-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path_ = std::filesystem::canonical(pattern);
  }
  ~ConfigFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ConfigFolder(const ConfigFolder&) = delete;
  ConfigFolder& operator=(const ConfigFolder&) = delete;

  void write(const std::string& name, std::string_view text) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << text;
  }
  std::string read(const std::string& name) const {
    std::ifstream file(path_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string path(const std::string& name = {}) const {
    return name.empty() ? path_.string() : (path_ / name).string();
  }
  fabric::config::detail::Inputs inputs(
      std::vector<std::string> arguments = {},
      std::vector<std::pair<std::string, std::string>> variables = {}) const {
    return {std::move(arguments), std::move(variables), path_.string()};
  }

 private:
  std::filesystem::path path_;
};

/// The text of a file "in.yaml" as nodes.
inline fabric::config::detail::Node yaml(std::string_view text) {
  auto source = std::make_shared<fabric::config::Source>();
  source->name = "in.yaml";
  source->folder = "/folder";
  return fabric::config::detail::read_yaml(text, source);
}

/// What is wrong, a line each; empty where nothing is.
template <class Call>
std::string problems_of(const Call& call) {
  try {
    call();
  } catch (const fabric::config::ConfigError& error) {
    std::string lines;
    for (const fabric::config::Problem& problem : error.problems()) {
      lines += problem.line() + "\n";
    }
    return lines;
  }
  return {};
}

/// Whether a text has all of these parts.
inline bool has(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) {
    if (text.find(part) == std::string::npos) {
      return false;
    }
  }
  return true;
}

/// What a call throws as a MisconfigurationError; empty where it does not.
template <class Call>
std::string refusal_of(const Call& call) {
  try {
    call();
  } catch (const fabric::MisconfigurationError& error) {
    return error.what();
  }
  return {};
}

}  // namespace support
