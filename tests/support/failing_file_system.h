// A file system that fails at a chosen operation, for tests of what is left then.
#pragma once

#include <cerrno>
#include <string>
#include <vector>

#include <fabric/checkpoint/io/file_system.h>

/// Forwards to the real one; the operation with the number `fails_at` (from 0) says EIO instead.
/// Afterwards, as after a crash, `dead` ones do nothing any more.
class FailingFileSystem final : public fabric::detail::FileSystem {
 public:
  FailingFileSystem(int fails_at, bool dead)
      : real_(FileSystem::current()), fails_at_(fails_at), dead_(dead) {}

  /// How many operations that change something there were.
  int operations() const { return operations_; }

  int open(const std::string& path, int flags, int mode) override {
    return works() ? real_.open(path, flags, mode) : -1;
  }
  ssize_t pread(int file, void* to, std::size_t count, std::int64_t offset) override {
    return real_.pread(file, to, count, offset);
  }
  ssize_t pwrite(int file, const void* from, std::size_t count, std::int64_t offset) override {
    return works() ? real_.pwrite(file, from, count, offset) : -1;
  }
  std::int64_t size(int file) override { return real_.size(file); }
  std::shared_ptr<char> map(int file, std::int64_t size) override { return real_.map(file, size); }
  int allocate(int file, std::int64_t size) override {
    return works() ? real_.allocate(file, size) : -1;
  }
  void start_writeback(int file, std::int64_t offset, std::int64_t count) override {
    real_.start_writeback(file, offset, count);
  }
  int fsync(int file) override { return works() ? real_.fsync(file) : -1; }
  int lock(int file) override { return real_.lock(file); }
  int close(int file) override { return real_.close(file); }
  int rename(const std::string& from, const std::string& to) override {
    return works() ? real_.rename(from, to) : -1;
  }
  int unlink(const std::string& path) override { return works() ? real_.unlink(path) : -1; }
  int make_directory(const std::string& path) override {
    return works() ? real_.make_directory(path) : -1;
  }
  int remove_directory(const std::string& path) override {
    return works() ? real_.remove_directory(path) : -1;
  }
  int list(const std::string& path, std::vector<std::string>& names) override {
    return real_.list(path, names);
  }

 private:
  bool works() {
    const int number = operations_++;
    const bool fails = dead_ ? number >= fails_at_ : number == fails_at_;
    if (fails) {
      errno = EIO;
    }
    return !fails;
  }

  FileSystem& real_;
  int fails_at_;
  bool dead_;
  int operations_ = 0;
};
