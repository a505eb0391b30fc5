#include <fabric/checkpoint/format/safetensors_parts.h>

#include <algorithm>
#include <set>
#include <string_view>

#include <accelerators/error.h>
#include <fabric/checkpoint/io/file.h>

namespace fabric::detail {
namespace {

constexpr std::size_t kDigits = 5;

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : ".";
}

std::vector<std::string> names_beside(const std::filesystem::path& path) {
  std::vector<std::string> names;
  FileSystem::current().list(folder_of(path).string(),
                             names);  // making the files says what is wrong
  return names;
}

std::string padded(std::size_t number) {
  std::string digits = std::to_string(number);
  return std::string(kDigits - std::min(kDigits, digits.size()), '0') + digits;
}

// Takes a run of digits off the front.
bool take_digits(std::string_view& text) {
  const std::size_t count = std::min(text.find_first_not_of("0123456789"), text.size());
  text.remove_prefix(count);
  return count > 0;
}

bool take(std::string_view& text, std::string_view prefix) {
  const bool there = text.starts_with(prefix);
  text.remove_prefix(there ? prefix.size() : 0);
  return there;
}

bool is_part(const std::filesystem::path& path, std::string_view name) {
  if (!take(name, path.stem().string())) {
    return false;
  }
  if (take(name, ".g") && !take_digits(name)) {
    return false;
  }
  return take(name, "-") && take_digits(name) && take(name, "-of-") && take_digits(name) &&
         name == path.extension().string();
}

}  // namespace

std::filesystem::path safetensors_index_path(const std::filesystem::path& path) {
  return path.string() + ".index.json";
}

std::vector<std::string> free_part_names(const std::filesystem::path& path, std::size_t count) {
  const std::vector<std::string> there = names_beside(path);
  const std::set<std::string> taken(there.begin(), there.end());
  for (std::size_t generation = 1;; ++generation) {
    const std::string mark = generation == 1 ? "" : str(".g", generation);
    std::vector<std::string> names;
    for (std::size_t i = 1; i <= count; ++i) {
      names.push_back(str(path.stem().string(), mark, "-", padded(i), "-of-", padded(count),
                          path.extension().string()));
    }
    if (std::none_of(names.begin(), names.end(),
                     [&](const std::string& name) { return taken.contains(name); })) {
      return names;
    }
  }
}

void remove_other_parts(const std::filesystem::path& path, const std::vector<std::string>& kept) {
  for (const std::string& name : names_beside(path)) {
    if (is_part(path, name) && std::find(kept.begin(), kept.end(), name) == kept.end()) {
      FileSystem::current().unlink((folder_of(path) / name).string());
    }
    // A part that never got its name.
    const std::size_t mark = name.find(".fabric-tmp-");
    if (mark != std::string::npos && is_part(path, std::string_view(name).substr(1, mark - 1))) {
      remove_temporaries(folder_of(path) / name.substr(1, mark - 1));
    }
  }
}

}  // namespace fabric::detail
