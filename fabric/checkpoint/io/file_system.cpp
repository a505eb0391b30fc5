#include <fabric/checkpoint/io/file_system.h>

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>

namespace fabric::detail {
namespace {

class PosixFileSystem final : public FileSystem {
 public:
  int open(const std::string& path, int flags, int mode) override {
    return ::open(path.c_str(), flags | O_CLOEXEC, mode);
  }
  ssize_t pread(int file, void* to, std::size_t count, std::int64_t offset) override {
    return ::pread(file, to, count, offset);
  }
  ssize_t pwrite(int file, const void* from, std::size_t count, std::int64_t offset) override {
    return ::pwrite(file, from, count, offset);
  }
  std::int64_t size(int file) override {
    struct stat status {};
    return ::fstat(file, &status) == 0 ? status.st_size : -1;
  }
  std::shared_ptr<char> map(int file, std::int64_t size) override {
    const auto length = static_cast<std::size_t>(size);
    // Without reservation: pages that are only read need no room of their own.
    void* memory =
        ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file, 0);
    if (memory == MAP_FAILED) {
      return nullptr;
    }
    return {static_cast<char*>(memory), [length](char* mapped) { ::munmap(mapped, length); }};
  }
  int allocate(int file, std::int64_t size) override {
    // Not posix_fallocate: where the file system cannot, that writes every block.
    return ::fallocate(file, 0, 0, size);
  }
  void start_writeback(int file, std::int64_t offset, std::int64_t count) override {
    ::sync_file_range(file, offset, count, SYNC_FILE_RANGE_WRITE);
  }
  int fsync(int file) override { return ::fsync(file); }
  int lock(int file) override { return ::flock(file, LOCK_EX | LOCK_NB); }
  int close(int file) override { return ::close(file); }
  int rename(const std::string& from, const std::string& to) override {
    return ::rename(from.c_str(), to.c_str());
  }
  int unlink(const std::string& path) override { return ::unlink(path.c_str()); }
  int make_directory(const std::string& path) override {
    return ::mkdir(path.c_str(), 0777) == 0 || errno == EEXIST ? 0 : -1;
  }
  int remove_directory(const std::string& path) override { return ::rmdir(path.c_str()); }
  int list(const std::string& path, std::vector<std::string>& names) override {
    DIR* directory = ::opendir(path.c_str());
    if (directory == nullptr) {
      return -1;
    }
    errno = 0;
    while (const dirent* entry = ::readdir(directory)) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") {
        names.push_back(name);
      }
    }
    const int status = errno == 0 ? 0 : -1;
    ::closedir(directory);
    return status;
  }
};

std::atomic<FileSystem*>& current_system() {
  static PosixFileSystem posix;
  static std::atomic<FileSystem*> current{&posix};
  return current;
}

}  // namespace

// Not all file systems of tests have folders, or memory that maps.

int FileSystem::remove_directory(const std::string&) {
  errno = ENOTSUP;
  return -1;
}

std::shared_ptr<char> FileSystem::map(int, std::int64_t) {
  return nullptr;
}

FileSystem& FileSystem::current() {
  return *current_system().load();
}

FileSystemScope::FileSystemScope(FileSystem& system)
    : before_(current_system().exchange(&system)) {}

FileSystemScope::~FileSystemScope() {
  current_system().store(before_);
}

}  // namespace fabric::detail
