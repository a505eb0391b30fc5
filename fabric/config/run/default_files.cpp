#include <fabric/config/run/default_files.h>

#include <glob.h>

#include <filesystem>

namespace fabric::config::detail {

std::vector<std::string> matching_files(const std::string& pattern, const std::string& folder) {
  const std::string whole = (std::filesystem::path(folder) / pattern).string();
  glob_t found{};
  std::vector<std::string> names;
  if (::glob(whole.c_str(), 0, nullptr, &found) == 0) {
    names.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  }
  ::globfree(&found);
  const std::string begin = folder + "/";
  for (std::string& name : names) {  // as the user would write them
    if (std::filesystem::path(pattern).is_relative() && name.starts_with(begin)) {
      name.erase(0, begin.size());
    }
  }
  return names;
}

}  // namespace fabric::config::detail
