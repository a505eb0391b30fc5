// What may be on a disk after a crash: file systems for tests that record what a program asks for,
// and that hold each state which POSIX allows to be left behind.
//
//     RecordingFileSystem recording;
//     { FileSystemScope scope(recording); fabric::save(path, state); }
//     for_each_crash_state(recording.log(), initial, [&](MemoryFileSystem& disk) {
//       FileSystemScope scope(disk);
//       … load: the old checkpoint or the new one, nothing else
//     });
//
// A write lasts from the fsync of its file on, a name from the fsync of its folder on. Before that
// each may have reached the disk or not, whatever became of the others.
#pragma once

#include <time.h>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>

#include <fabric/checkpoint/io/file_system.h>
#include <tests/support/state_trees.h>

/// One operation that changes something.
struct DiskOperation {
  enum Kind { create, write, sync, rename, unlink, make_directory, sync_directory };
  Kind kind = create;
  std::string path{};   // of the file when it was opened, or of the folder
  std::string other{};  // new name, of rename
  std::int64_t offset = 0;
  std::string bytes{};
  std::int64_t file = 0;  // which file: a number that no other has, also over ranks
  std::int64_t time = 0;  // in nanoseconds, the same clock in all processes
};

/// Forwards to the real one and keeps a log.
class RecordingFileSystem final : public fabric::detail::FileSystem {
 public:
  /// @param rank makes numbers of files differ from those of other processes
  explicit RecordingFileSystem(int rank = 0)
      : real_(FileSystem::current()), next_file_(std::int64_t{rank} << 32) {}

  const std::vector<DiskOperation>& log() const { return log_; }

  int open(const std::string& path, int flags, int mode) override {
    const std::lock_guard lock(mutex_);
    const int file = real_.open(path, flags, mode);
    if (file >= 0) {
      open_[file] = {path, (flags & O_CREAT) != 0 ? next_file_++ : -1, (flags & O_DIRECTORY) != 0};
      if ((flags & O_CREAT) != 0) {
        add({.kind = DiskOperation::create, .path = path, .file = open_[file].number});
      }
    }
    return file;
  }
  ssize_t pread(int file, void* to, std::size_t count, std::int64_t offset) override {
    return real_.pread(file, to, count, offset);
  }
  ssize_t pwrite(int file, const void* from, std::size_t count, std::int64_t offset) override {
    const ssize_t put = real_.pwrite(file, from, count, offset);
    const std::lock_guard lock(mutex_);
    if (put > 0) {
      add({.kind = DiskOperation::write,
           .path = open_[file].path,
           .offset = offset,
           .bytes = std::string(static_cast<const char*>(from), static_cast<std::size_t>(put)),
           .file = open_[file].number});
    }
    return put;
  }
  std::int64_t size(int file) override { return real_.size(file); }
  std::shared_ptr<char> map(int file, std::int64_t size) override { return real_.map(file, size); }
  int allocate(int file, std::int64_t size) override { return real_.allocate(file, size); }
  void start_writeback(int, std::int64_t, std::int64_t) override {}
  int fsync(int file) override {
    const int status = real_.fsync(file);
    const std::lock_guard lock(mutex_);
    const Open& open = open_[file];
    add({.kind = open.directory ? DiskOperation::sync_directory : DiskOperation::sync,
         .path = open.path,
         .file = open.number});
    return status;
  }
  int lock(int file) override { return real_.lock(file); }
  int close(int file) override { return real_.close(file); }
  int rename(const std::string& from, const std::string& to) override {
    const int status = real_.rename(from, to);
    const std::lock_guard lock(mutex_);
    add({.kind = DiskOperation::rename, .path = from, .other = to});
    return status;
  }
  int unlink(const std::string& path) override {
    const int status = real_.unlink(path);
    const std::lock_guard lock(mutex_);
    if (status == 0) {
      add({.kind = DiskOperation::unlink, .path = path});
    }
    return status;
  }
  int make_directory(const std::string& path) override {
    const int status = real_.make_directory(path);
    const std::lock_guard lock(mutex_);
    add({.kind = DiskOperation::make_directory, .path = path});
    return status;
  }
  int remove_directory(const std::string& path) override { return real_.remove_directory(path); }
  int list(const std::string& path, std::vector<std::string>& names) override {
    return real_.list(path, names);
  }

 private:
  struct Open {
    std::string path;
    std::int64_t number = -1;
    bool directory = false;
  };

  void add(DiskOperation operation) {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    operation.time = now.tv_sec * 1'000'000'000 + now.tv_nsec;
    log_.push_back(std::move(operation));
  }

  FileSystem& real_;
  std::mutex mutex_;
  std::int64_t next_file_;
  std::map<int, Open> open_;
  std::vector<DiskOperation> log_;
};

/// A disk in memory.
class MemoryFileSystem final : public fabric::detail::FileSystem {
 public:
  using Content = std::shared_ptr<std::string>;

  std::map<std::string, Content> files;
  std::set<std::string> folders;

  int open(const std::string& path, int flags, int) override {
    const std::lock_guard lock(mutex_);
    if (folders.contains(path) || path == "." || path.empty()) {
      open_[++last_] = {nullptr, path};
      return last_;
    }
    const auto found = files.find(path);
    if ((flags & O_DIRECTORY) != 0 || (found == files.end() && (flags & O_CREAT) == 0)) {
      errno = ENOENT;
      return -1;
    }
    if (found != files.end() && (flags & O_EXCL) != 0) {
      errno = EEXIST;
      return -1;
    }
    const std::size_t slash = path.rfind('/');
    if (found == files.end() && slash != std::string::npos &&
        !folders.contains(path.substr(0, slash))) {
      errno = ENOENT;
      return -1;
    }
    const Content content = found != files.end() ? found->second : std::make_shared<std::string>();
    files[path] = content;
    open_[++last_] = {content, path};
    return last_;
  }
  ssize_t pread(int file, void* to, std::size_t count, std::int64_t offset) override {
    const std::lock_guard lock(mutex_);
    const std::string& bytes = *open_.at(file).content;
    const auto begin = std::min<std::size_t>(static_cast<std::size_t>(offset), bytes.size());
    const std::size_t got = std::min(count, bytes.size() - begin);
    std::memcpy(to, bytes.data() + begin, got);
    return static_cast<ssize_t>(got);
  }
  ssize_t pwrite(int file, const void* from, std::size_t count, std::int64_t offset) override {
    const std::lock_guard lock(mutex_);
    put(*open_.at(file).content, static_cast<const char*>(from), count, offset);
    return static_cast<ssize_t>(count);
  }
  static void put(std::string& bytes, const char* from, std::size_t count, std::int64_t offset) {
    const auto end = static_cast<std::size_t>(offset) + count;
    bytes.resize(std::max(bytes.size(), end), '\0');
    std::memcpy(bytes.data() + offset, from, count);
  }
  std::int64_t size(int file) override {
    const std::lock_guard lock(mutex_);
    const Content& content = open_.at(file).content;
    return content ? static_cast<std::int64_t>(content->size()) : 0;
  }
  std::shared_ptr<char> map(int, std::int64_t) override { return nullptr; }
  int allocate(int, std::int64_t) override { return 0; }
  void start_writeback(int, std::int64_t, std::int64_t) override {}
  int fsync(int) override { return 0; }
  int lock(int) override { return 0; }
  int close(int file) override {
    const std::lock_guard lock(mutex_);
    open_.erase(file);
    return 0;
  }
  int rename(const std::string& from, const std::string& to) override {
    const std::lock_guard lock(mutex_);
    const auto found = files.find(from);
    if (found == files.end()) {
      errno = ENOENT;
      return -1;
    }
    files[to] = found->second;
    files.erase(from);
    return 0;
  }
  int unlink(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    return files.erase(path) > 0 ? 0 : (errno = ENOENT, -1);
  }
  int make_directory(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    folders.insert(path);
    return 0;
  }
  int remove_directory(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    return folders.erase(path) > 0 ? 0 : (errno = ENOENT, -1);
  }
  int list(const std::string& path, std::vector<std::string>& names) override {
    const std::lock_guard lock(mutex_);
    if (!folders.contains(path)) {
      errno = ENOENT;
      return -1;
    }
    const std::string prefix = path + "/";
    const auto add = [&](const std::string& each) {
      if (each.starts_with(prefix) && each.find('/', prefix.size()) == std::string::npos) {
        names.push_back(each.substr(prefix.size()));
      }
    };
    for (const auto& [name, content] : files) {
      add(name);
    }
    for (const std::string& folder : folders) {
      add(folder);
    }
    return 0;
  }

 private:
  struct Open {
    Content content;
    std::string path;
  };
  std::mutex mutex_;
  std::map<int, Open> open_;
  int last_ = 2;
};

/// Adds a folder and all in it.
inline void copy_disk(const std::filesystem::path& folder, MemoryFileSystem& disk) {
  disk.folders.insert(folder.string());
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_directory()) {
      disk.folders.insert(entry.path().string());
    } else {
      disk.files[entry.path().string()] = std::make_shared<std::string>(bytes_of(entry.path()));
    }
  }
}

namespace crash_states_detail {

// Whether operation i of the first `count` is sure to be on the disk.
inline bool lasts(const std::vector<DiskOperation>& log, std::size_t i, std::size_t count) {
  const DiskOperation& operation = log[i];
  const auto folder_of = [](const std::string& path) { return path.substr(0, path.rfind('/')); };
  for (std::size_t later = i + 1; later < count; ++later) {
    const DiskOperation& sync = log[later];
    if (operation.kind == DiskOperation::write
            ? sync.kind == DiskOperation::sync && sync.file == operation.file
            : sync.kind == DiskOperation::sync_directory &&
                  sync.path ==
                      folder_of(operation.other.empty() ? operation.path : operation.other)) {
      return true;
    }
  }
  return false;
}

inline bool can_be_lost(const DiskOperation& operation) {
  return operation.kind != DiskOperation::sync && operation.kind != DiskOperation::sync_directory;
}

}  // namespace crash_states_detail

/// Calls `visit` with the disk after a crash at every moment of the log, and for each with what is
/// not sure to last: all there, all lost, each one lost or there alone, and some random choices.
/// @param initial what was there before, all of it durable
inline void for_each_crash_state(const std::vector<DiskOperation>& log,
                                 const MemoryFileSystem& initial,
                                 const std::function<void(MemoryFileSystem&, std::size_t)>& visit,
                                 int random_choices = 4) {
  using namespace crash_states_detail;
  std::mt19937 random(7);
  for (std::size_t count = 0; count <= log.size(); ++count) {
    std::vector<std::size_t> unsure;
    for (std::size_t i = 0; i < count; ++i) {
      if (can_be_lost(log[i]) && !lasts(log, i, count)) {
        unsure.push_back(i);
      }
    }
    std::set<std::set<std::size_t>> choices;  // of what is lost
    choices.insert({});
    choices.insert({unsure.begin(), unsure.end()});
    for (const std::size_t one : unsure) {
      choices.insert({one});
      std::set<std::size_t> others(unsure.begin(), unsure.end());
      others.erase(one);
      choices.insert(std::move(others));
    }
    for (int i = 0; i < random_choices && !unsure.empty(); ++i) {
      std::set<std::size_t> some;
      for (const std::size_t one : unsure) {
        if (random() % 2 == 0) {
          some.insert(one);
        }
      }
      choices.insert(std::move(some));
    }
    for (const std::set<std::size_t>& lost : choices) {
      MemoryFileSystem disk;
      disk.folders = initial.folders;
      for (const auto& [path, content] : initial.files) {
        disk.files[path] = std::make_shared<std::string>(*content);
      }
      std::map<std::int64_t, MemoryFileSystem::Content> contents;  // by file, under whatever name
      std::map<std::string, MemoryFileSystem::Content> named = disk.files;
      for (std::size_t i = 0; i < count; ++i) {
        const DiskOperation& operation = log[i];
        const bool there = !lost.contains(i);
        switch (operation.kind) {
          case DiskOperation::create:
            contents[operation.file] = std::make_shared<std::string>();
            named[operation.path] = contents[operation.file];
            if (there) {
              disk.files[operation.path] = contents[operation.file];
            }
            break;
          case DiskOperation::write:
            if (there && contents.contains(operation.file)) {
              MemoryFileSystem::put(*contents[operation.file], operation.bytes.data(),
                                    operation.bytes.size(), operation.offset);
            }
            break;
          case DiskOperation::rename:
            named[operation.other] = named[operation.path];
            if (there && named[operation.path]) {
              disk.files[operation.other] = named[operation.path];
              disk.files.erase(operation.path);
            }
            break;
          case DiskOperation::unlink:
            if (there) {
              disk.files.erase(operation.path);
            }
            break;
          case DiskOperation::make_directory:
            if (there) {
              disk.folders.insert(operation.path);
            }
            break;
          default:
            break;
        }
      }
      // A file in a folder that is lost is lost.
      std::erase_if(disk.files, [&](const auto& item) {
        return !disk.folders.contains(item.first.substr(0, item.first.rfind('/')));
      });
      visit(disk, count);
    }
  }
}
