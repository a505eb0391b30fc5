// A disk that takes its time, or refuses.
#pragma once

#include <cerrno>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <fabric/checkpoint/io/file_system.h>

/// Forwards to the real one; each write waits.
class SlowFileSystem final : public fabric::detail::FileSystem {
 public:
  explicit SlowFileSystem(std::chrono::microseconds delay)
      : real_(FileSystem::current()), delay_(delay) {}

  bool fail_writes = false;

  int open(const std::string& path, int flags, int mode) override {
    return real_.open(path, flags, mode);
  }
  ssize_t pread(int file, void* to, std::size_t count, std::int64_t offset) override {
    return real_.pread(file, to, count, offset);
  }
  ssize_t pwrite(int file, const void* from, std::size_t count, std::int64_t offset) override {
    std::this_thread::sleep_for(delay_);
    if (fail_writes) {
      errno = EIO;
      return -1;
    }
    return real_.pwrite(file, from, count, offset);
  }
  std::int64_t size(int file) override { return real_.size(file); }
  std::shared_ptr<char> map(int file, std::int64_t size) override { return real_.map(file, size); }
  int allocate(int file, std::int64_t size) override { return real_.allocate(file, size); }
  void start_writeback(int file, std::int64_t offset, std::int64_t count) override {
    real_.start_writeback(file, offset, count);
  }
  int fsync(int file) override { return real_.fsync(file); }
  int lock(int file) override { return real_.lock(file); }
  int close(int file) override { return real_.close(file); }
  int rename(const std::string& from, const std::string& to) override {
    return real_.rename(from, to);
  }
  int unlink(const std::string& path) override { return real_.unlink(path); }
  int make_directory(const std::string& path) override { return real_.make_directory(path); }
  int remove_directory(const std::string& path) override { return real_.remove_directory(path); }
  int list(const std::string& path, std::vector<std::string>& names) override {
    return real_.list(path, names);
  }

 private:
  FileSystem& real_;
  std::chrono::microseconds delay_;
};
