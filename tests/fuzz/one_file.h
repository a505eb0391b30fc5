// An input as a file, without a file.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <fabric/checkpoint/io/file.h>
#include <fabric/checkpoint/io/file_system.h>

namespace fuzz {

/// While it lives, every path names these bytes, and nothing can be written.
class OneFile final : public fabric::detail::FileSystem {
 public:
  explicit OneFile(std::string_view bytes) : bytes_(bytes), scope_(*this) {}

  std::shared_ptr<const fabric::detail::InputFile> input() const {
    return std::make_shared<fabric::detail::InputFile>("input");
  }

  int open(const std::string&, int, int) override { return 1; }
  ssize_t pread(int, void* to, std::size_t count, std::int64_t offset) override {
    const auto at = std::min(static_cast<std::size_t>(offset), bytes_.size());
    const std::size_t some = std::min(count, bytes_.size() - at);
    std::memcpy(to, bytes_.data() + at, some);
    return static_cast<ssize_t>(some);
  }
  ssize_t pwrite(int, const void*, std::size_t, std::int64_t) override { return refuse(); }
  std::int64_t size(int) override { return static_cast<std::int64_t>(bytes_.size()); }
  int allocate(int, std::int64_t) override { return refuse(); }
  void start_writeback(int, std::int64_t, std::int64_t) override {}
  int fsync(int) override { return refuse(); }
  int lock(int) override { return refuse(); }
  int close(int) override { return 0; }
  int rename(const std::string&, const std::string&) override { return refuse(); }
  int unlink(const std::string&) override { return refuse(); }
  int make_directory(const std::string&) override { return refuse(); }
  int remove_directory(const std::string&) override { return refuse(); }
  int list(const std::string&, std::vector<std::string>&) override { return refuse(); }

 private:
  static int refuse() {
    errno = EROFS;
    return -1;
  }

  std::string_view bytes_;
  fabric::detail::FileSystemScope scope_;
};

}  // namespace fuzz
