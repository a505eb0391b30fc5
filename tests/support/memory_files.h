// Files that lie in memory, for tests that write many of them or very large ones: what is zero
// takes no room.
#pragma once

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include <fabric/checkpoint/io/file_system.h>

namespace support {

/// While it lives, checkpoints of this process go to and come from it.
class MemoryFiles final : public fabric::detail::FileSystem {
 public:
  MemoryFiles() : scope_(*this) {}

  /// The whole of a file.
  std::string read(const std::string& path) {
    File& file = *files_.at(path);
    std::string bytes(static_cast<std::size_t>(file.size), '\0');
    copy(file, 0, bytes.size(), bytes.data());
    return bytes;
  }
  /// Makes a file, or replaces one.
  void write(const std::string& path, const std::string& bytes) {
    files_[path] = std::make_shared<File>();
    put(*files_[path], 0, bytes.size(), bytes.data());
  }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& [path, file] : files_) {
      all.push_back(path);
    }
    return all;
  }

  int open(const std::string& path, int flags, int) override {
    const std::lock_guard lock(mutex_);
    if ((flags & O_DIRECTORY) != 0) {
      open_[next_] = std::make_shared<File>();
      return next_++;
    }
    const bool there = files_.contains(path);
    if (there ? (flags & O_EXCL) != 0 : (flags & O_CREAT) == 0) {
      errno = there ? EEXIST : ENOENT;
      return -1;
    }
    if (!there) {
      files_[path] = std::make_shared<File>();
    }
    open_[next_] = files_[path];
    return next_++;
  }
  ssize_t pread(int file, void* to, std::size_t count, std::int64_t offset) override {
    const std::shared_ptr<File> from = opened(file);
    const std::lock_guard lock(mutex_);
    const auto end = std::min<std::int64_t>(from->size, offset + static_cast<std::int64_t>(count));
    const auto got = std::max<std::int64_t>(0, end - offset);
    copy(*from, offset, static_cast<std::size_t>(got), static_cast<char*>(to));
    return static_cast<ssize_t>(got);
  }
  ssize_t pwrite(int file, const void* from, std::size_t count, std::int64_t offset) override {
    const std::shared_ptr<File> to = opened(file);
    const auto* bytes = static_cast<const char*>(from);
    if (count >= kPage && bytes[0] == 0 && std::memcmp(bytes, bytes + 1, count - 1) == 0) {
      const std::lock_guard lock(mutex_);
      to->size = std::max(to->size, offset + static_cast<std::int64_t>(count));
      return static_cast<ssize_t>(count);  // never written before: writers write once
    }
    const std::lock_guard lock(mutex_);
    put(*to, offset, count, bytes);
    return static_cast<ssize_t>(count);
  }
  std::int64_t size(int file) override { return opened(file)->size; }
  int allocate(int, std::int64_t) override { return 0; }
  void start_writeback(int, std::int64_t, std::int64_t) override {}
  int fsync(int) override { return 0; }
  int lock(int) override { return 0; }
  int close(int file) override {
    const std::lock_guard lock(mutex_);
    return open_.erase(file) == 1 ? 0 : -1;
  }
  int rename(const std::string& from, const std::string& to) override {
    const std::lock_guard lock(mutex_);
    files_[to] = files_.at(from);
    files_.erase(from);
    return 0;
  }
  int unlink(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    return files_.erase(path) == 1 ? 0 : -1;
  }
  int make_directory(const std::string&) override { return 0; }
  int remove_directory(const std::string&) override { return 0; }
  int list(const std::string& path, std::vector<std::string>& names) override {
    for (const auto& [name, file] : files_) {
      const std::filesystem::path full(name);
      if ((full.has_parent_path() ? full.parent_path() : ".") == path) {
        names.push_back(full.filename().string());
      }
    }
    return 0;
  }

 private:
  static constexpr std::size_t kPage = 1 << 16;
  struct File {
    std::int64_t size = 0;
    std::unordered_map<std::int64_t, std::string> pages;
  };

  std::shared_ptr<File> opened(int file) {
    const std::lock_guard lock(mutex_);
    return open_.at(file);
  }
  static void put(File& file, std::int64_t offset, std::size_t count, const char* bytes) {
    file.size = std::max(file.size, offset + static_cast<std::int64_t>(count));
    each_page(offset, count, [&](std::int64_t page, std::size_t at, std::size_t some) {
      std::string& held = file.pages[page];
      held.resize(kPage);
      std::memcpy(held.data() + at, bytes, some);
      bytes += some;
    });
  }
  static void copy(const File& file, std::int64_t offset, std::size_t count, char* to) {
    each_page(offset, count, [&](std::int64_t page, std::size_t at, std::size_t some) {
      const auto held = file.pages.find(page);
      if (held == file.pages.end()) {
        std::memset(to, 0, some);
      } else {
        std::memcpy(to, held->second.data() + at, some);
      }
      to += some;
    });
  }
  template <class Function>
  static void each_page(std::int64_t offset, std::size_t count, const Function& function) {
    while (count > 0) {
      const auto at = static_cast<std::size_t>(offset) % kPage;
      const std::size_t some = std::min(count, kPage - at);
      function(offset / static_cast<std::int64_t>(kPage), at, some);
      offset += static_cast<std::int64_t>(some);
      count -= some;
    }
  }

  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<File>> files_;
  std::map<int, std::shared_ptr<File>> open_;
  int next_ = 1000;
  fabric::detail::FileSystemScope scope_;
};

}  // namespace support
