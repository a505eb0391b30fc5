// A folder of three files as one input.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include <fabric/checkpoint/io/file_system.h>

namespace fuzz {

/// While it lives, paths that end in `.metadata` name the first part of the input, those in
/// `__0_0.distcp` the second, all others the third. Each of the first two begins with its length
/// (32 bits, least significant byte first). Nothing can be written.
class PackedFolder final : public fabric::detail::FileSystem {
 public:
  explicit PackedFolder(std::string_view input) : scope_(*this) {
    for (std::size_t i = 0; i < 2; ++i) {
      std::uint32_t length = 0;
      for (std::size_t k = std::min<std::size_t>(4, input.size()); k-- > 0;) {
        length = length << 8 | static_cast<unsigned char>(input[k]);
      }
      input.remove_prefix(std::min<std::size_t>(4, input.size()));
      files_[i] = input.substr(0, length);
      input.remove_prefix(files_[i].size());
    }
    files_[2] = input;
  }

  int open(const std::string& path, int, int) override {
    return path.ends_with(".metadata") ? 0 : path.ends_with("__0_0.distcp") ? 1 : 2;
  }
  ssize_t pread(int file, void* to, std::size_t count, std::int64_t offset) override {
    const std::string_view bytes = files_[static_cast<std::size_t>(file)];
    const auto at = std::min(static_cast<std::size_t>(offset), bytes.size());
    const std::size_t some = std::min(count, bytes.size() - at);
    std::memcpy(to, bytes.data() + at, some);
    return static_cast<ssize_t>(some);
  }
  ssize_t pwrite(int, const void*, std::size_t, std::int64_t) override { return refuse(); }
  std::int64_t size(int file) override {
    return static_cast<std::int64_t>(files_[static_cast<std::size_t>(file)].size());
  }
  int allocate(int, std::int64_t) override { return refuse(); }
  void start_writeback(int, std::int64_t, std::int64_t) override {}
  int fsync(int) override { return refuse(); }
  int lock(int) override { return refuse(); }
  int close(int) override { return 0; }
  int rename(const std::string&, const std::string&) override { return refuse(); }
  int unlink(const std::string&) override { return refuse(); }
  int make_directory(const std::string&) override { return refuse(); }
  int list(const std::string&, std::vector<std::string>&) override { return refuse(); }

 private:
  static int refuse() {
    errno = EROFS;
    return -1;
  }

  std::array<std::string_view, 3> files_;
  fabric::detail::FileSystemScope scope_;
};

}  // namespace fuzz
