// All that checkpoints ask of the operating system, behind one small interface: tests record it,
// replay crashes, and let operations fail.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace fabric::detail {

/// POSIX calls with their meaning there: a negative result says that errno has the reason.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  virtual int open(const std::string& path, int flags, int mode) = 0;
  virtual ssize_t pread(int file, void* to, std::size_t count, std::int64_t offset) = 0;
  virtual ssize_t pwrite(int file, const void* from, std::size_t count, std::int64_t offset) = 0;
  virtual std::int64_t size(int file) = 0;
  /// The first `size` bytes of a file in memory, until the last owner lets go. Writes to them stay
  /// with this process (MAP_PRIVATE). Null where that cannot be.
  virtual std::shared_ptr<char> map(int file, std::int64_t size);
  /// Reserves room for `size` bytes; a file system that cannot says EOPNOTSUPP.
  virtual int allocate(int file, std::int64_t size) = 0;
  /// Lets the disk begin with bytes that were written; a hint.
  virtual void start_writeback(int file, std::int64_t offset, std::int64_t count) = 0;
  virtual int fsync(int file) = 0;
  /// Marks a file as in use by this process until it is closed; fails where another has done so.
  virtual int lock(int file) = 0;
  virtual int close(int file) = 0;
  virtual int rename(const std::string& from, const std::string& to) = 0;
  virtual int unlink(const std::string& path) = 0;
  /// @returns 0 also where it is there already
  virtual int make_directory(const std::string& path) = 0;
  /// Of an empty one.
  virtual int remove_directory(const std::string& path);
  /// Names in a folder, in no order; -1 where it cannot be read.
  virtual int list(const std::string& path, std::vector<std::string>& names) = 0;

  /// What this process uses: the real one, unless a test has put another in its place.
  static FileSystem& current();
};

/// While it lives, `current()` is another file system. For tests; threads see it too.
class FileSystemScope {
 public:
  explicit FileSystemScope(FileSystem& system);
  ~FileSystemScope();
  FileSystemScope(const FileSystemScope&) = delete;
  FileSystemScope& operator=(const FileSystemScope&) = delete;

 private:
  FileSystem* before_;
};

}  // namespace fabric::detail
