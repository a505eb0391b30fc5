// Files as checkpoints use them: whole reads and writes, errors as texts, and new files that take
// the place of old ones only when they are complete.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include <fabric/checkpoint/io/file_system.h>

namespace fabric::detail {

/// Makes a folder, unless it is there, and sees to it that its name lasts.
/// @throws CheckpointError where it cannot be made
void make_folder(const std::filesystem::path& path);

/// Whether a path can be opened as a folder.
bool is_folder(const std::filesystem::path& path);
/// Whether it can be opened at all.
bool exists(const std::filesystem::path& path);

/// A file that is read. May be read by several threads at once.
class InputFile {
 public:
  /// @param memory_map whether its bytes may be lent to tensors instead of copied, where the file
  ///        system can do that. Then the file must keep its length while such tensors live: one
  ///        that is cut off under them ends the process. (Files that take the place of others by
  ///        rename, as ours do, are safe.)
  /// @throws CheckpointError where it cannot be opened
  explicit InputFile(std::filesystem::path path, bool memory_map = false);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::int64_t size() const { return size_; }
  /// @throws CheckpointError for a range that ends behind the file, and for errors of the disk
  void read(std::int64_t offset, std::int64_t count, void* to) const;
  std::string read(std::int64_t offset, std::int64_t count) const;

  /// Bytes [offset, offset + count) in memory, kept by the result, not verified; writing to them
  /// changes neither the file nor what `read` gives. Null where the file is not mapped, or ends
  /// before.
  std::shared_ptr<char> mapped(std::int64_t offset, std::int64_t count) const;

  /// Bytes that all files of this process have read so far; tests and benchmarks count them.
  static std::int64_t bytes_read();

 private:
  FileSystem& system_;
  std::filesystem::path path_;
  int file_ = -1;
  std::int64_t size_ = 0;
  std::shared_ptr<char> mapping_;
};

/// Removes what processes that died have left of a file under way.
/// @param own a temporary file that is not looked at
/// @returns false where a process is still at work on it; then its file stays
bool remove_temporaries(const std::filesystem::path& path, const std::filesystem::path& own = {});

/// Whether other saves may be after the same name. Looking for them reads the folder, which in one
/// of many thousand shards takes its time.
enum class FileName { shared, unique };

/// What comes when a file is written and has not got its name yet. It may throw: then nothing has
/// changed.
using BeforeCommit = std::function<void()>;

/// A file under way: it lies beside `path` under a temporary name until `commit`, which makes it
/// durable and gives it its name. Dropped before that, nothing is left and an old file is as it
/// was. Temporary files that earlier processes left behind are removed first.
class OutputFile {
 public:
  /// @param size of the whole file, for which room is reserved; 0 if it is not known
  /// @throws CheckpointError where it cannot be made, there is no room, or another process is
  /// saving
  ///         to a shared name
  OutputFile(std::filesystem::path path, std::int64_t size, FileName name = FileName::shared);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// The same as `size` of the constructor, where it is known later.
  void reserve(std::int64_t size);
  /// Several threads may write at once.
  void write(std::int64_t offset, const void* from, std::int64_t count);
  /// Lets the disk begin with a range that has been written.
  void start_writeback(std::int64_t offset, std::int64_t count);
  /// Waits until all is on the disk, then takes the name. @throws CheckpointError, and then nothing
  /// has changed, unless the text says that it "may not last": then it has its name
  void commit();

 private:
  [[noreturn]] void fail(const std::string& doing);
  void refuse_others();
  void discard() noexcept;

  FileSystem& system_;
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int file_ = -1;
};

}  // namespace fabric::detail
