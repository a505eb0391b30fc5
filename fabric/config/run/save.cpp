#include <fabric/config/run/save.h>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include <accelerators/error.h>
#include <fabric/config/run/ending.h>
#include <fabric/config/run/resolved_tree.h>
#include <fabric/version.h>

namespace fabric::config {
namespace {

constexpr int kMostFiles = 100'000;

std::string file_name(int number) {
  return number == 1 ? "config.yaml" : "config-" + std::to_string(number) + ".yaml";
}

bool write_all(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(file, text.data(), text.size());
    if (written < 0 && errno != EINTR) {
      return false;
    }
    text.remove_prefix(written < 0 ? 0 : static_cast<std::size_t>(written));
  }
  return true;
}

}  // namespace

std::filesystem::path save(const Resolved& resolved, const std::filesystem::path& folder) {
  FABRIC_CHECK(Misconfiguration, resolved,
               "[fabric.config] there is no configuration to save. Hint: a parser makes it.");
  if (detail::rank_of_process() != 0) {
    return {};
  }
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  FABRIC_CHECK(Misconfiguration, !error, "[fabric.config] the folder '", folder.string(),
               "' cannot be made: ", error.message());
  const std::string text = "# Fabric for C++ " FABRIC_VERSION "; the options of a run of " +
                           resolved.tree()->program + "\n" + resolved.yaml();
  for (int number = 1; number <= kMostFiles; ++number) {
    const std::filesystem::path path = folder / file_name(number);
    // Fails where the file is there, also where another run makes it at this moment.
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file < 0 && errno == EEXIST) {
      continue;
    }
    bool written = file >= 0 && write_all(file, text);
    int reason = errno;
    if (file >= 0 && ::close(file) != 0 && written) {
      written = false;
      reason = errno;
    }
    FABRIC_CHECK(Misconfiguration, written, "[fabric.config] '", path.string(),
                 "' cannot be written: ", std::strerror(reason));
    return path;
  }
  FABRIC_CHECK(Misconfiguration, false, "[fabric.config] '", folder.string(), "' has ", kMostFiles,
               " configurations already");
  return {};
}

}  // namespace fabric::config
