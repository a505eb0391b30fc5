#include <fabric/checkpoint/io/file.h>

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <vector>

#include <accelerators/error.h>

namespace fabric::detail {
namespace {

std::atomic<std::int64_t> all_bytes_read{0};

std::string reason() {
  return std::strerror(errno);
}

const char* cure_of(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return ". Hint: the disk (or the quota) is full; an earlier checkpoint there is untouched.";
    case EACCES:
    case EPERM:
    case EROFS:
      return ". Hint: this user may not write there.";
    case ENOENT:
      return ". Hint: does its folder exist on this node?";
    default:
      return "";
  }
}

std::string prefix_of(const std::filesystem::path& path) {
  return "." + path.filename().string() + ".fabric-tmp-";
}

}  // namespace

namespace {

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : ".";
}

// Names in a folder last from here on. @returns 0, or -1 with errno
int sync_folder(FileSystem& system, const std::filesystem::path& folder) {
  const int directory = system.open(folder.string(), O_RDONLY | O_DIRECTORY, 0);
  if (directory < 0) {
    return -1;
  }
  const int status = system.fsync(directory);
  const int error = errno;
  system.close(directory);
  errno = error;
  return status;
}

}  // namespace

void make_folder(const std::filesystem::path& path) {
  FileSystem& system = FileSystem::current();
  const bool made =
      system.make_directory(path.string()) == 0 && sync_folder(system, folder_of(path)) == 0;
  FABRIC_CHECK(Checkpoint, made, "[fabric.save] ", path.string(),
               " cannot be made; got: ", reason(),
               errno == ENOENT ? ". Hint: the folder above it must exist." : cure_of(errno));
}

bool is_folder(const std::filesystem::path& path) {
  FileSystem& system = FileSystem::current();
  const int file = system.open(path.string(), O_RDONLY | O_DIRECTORY, 0);
  return file >= 0 && system.close(file) == 0;
}

bool exists(const std::filesystem::path& path) {
  FileSystem& system = FileSystem::current();
  const int file = system.open(path.string(), O_RDONLY, 0);
  return file >= 0 && system.close(file) == 0;
}

// ---- reading ------------------------------------------------------------------------------------

InputFile::InputFile(std::filesystem::path path, bool memory_map)
    : system_(FileSystem::current()), path_(std::move(path)) {
  file_ = system_.open(path_.string(), O_RDONLY, 0);
  FABRIC_CHECK(Checkpoint, file_ >= 0, "[fabric.load] ", path_.string(),
               " cannot be opened; got: ", reason(),
               errno == EACCES ? "" : ". Hint: does it exist on this node?");
  size_ = system_.size(file_);
  if (size_ < 0) {
    const std::string why = reason();
    system_.close(file_);
    throw CheckpointError(str("[fabric.load] ", path_.string(), " has no size; got: ", why));
  }
  if (memory_map && size_ > 0) {
    mapping_ = system_.map(file_, size_);
  }
}

InputFile::~InputFile() {
  system_.close(file_);
}

void InputFile::read(std::int64_t offset, std::int64_t count, void* to) const {
  FABRIC_CHECK(Checkpoint, offset >= 0 && count >= 0 && offset <= size_ && count <= size_ - offset,
               "[fabric.load] ", path_.string(), " is too short; got ", size_,
               " bytes; expected bytes ", offset, " to ", offset + count,
               ". Hint: the file is cut off or damaged.");
  auto* next = static_cast<char*>(to);
  std::int64_t done = 0;
  while (done < count) {
    const ssize_t got =
        system_.pread(file_, next + done, static_cast<std::size_t>(count - done), offset + done);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    FABRIC_CHECK(Checkpoint, got > 0, "[fabric.load] ", path_.string(), " cannot be read at byte ",
                 offset + done, "; got: ", got < 0 ? reason() : std::string("its end"));
    done += got;
  }
  all_bytes_read.fetch_add(count, std::memory_order_relaxed);
}

std::string InputFile::read(std::int64_t offset, std::int64_t count) const {
  FABRIC_CHECK(Checkpoint, count >= 0 && count <= size_, "[fabric.load] ", path_.string(),
               " is too short; got ", size_, " bytes; expected a part of ", count);
  std::string bytes(static_cast<std::size_t>(count), '\0');
  read(offset, count, bytes.data());
  return bytes;
}

std::shared_ptr<char> InputFile::mapped(std::int64_t offset, std::int64_t count) const {
  if (!mapping_ || offset < 0 || count < 0 || offset > size_ || count > size_ - offset) {
    return nullptr;
  }
  return {mapping_, mapping_.get() + offset};
}

std::int64_t InputFile::bytes_read() {
  return all_bytes_read.load();
}

// ---- writing ------------------------------------------------------------------------------------

bool remove_temporaries(const std::filesystem::path& path, const std::filesystem::path& own) {
  FileSystem& system = FileSystem::current();
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  std::vector<std::string> names;
  if (system.list(folder.string(), names) != 0) {
    return true;  // making the file says why
  }
  bool unused = true;
  for (const std::string& name : names) {
    if (!name.starts_with(prefix_of(path)) || name == own.filename()) {
      continue;
    }
    const std::string stale = (folder / name).string();
    const int file = system.open(stale, O_RDWR, 0);
    if (file < 0) {
      continue;  // gone by now
    }
    if (system.lock(file) == 0) {
      system.unlink(stale);
    } else {
      unused = false;
    }
    system.close(file);
  }
  return unused;
}

OutputFile::OutputFile(std::filesystem::path path, std::int64_t size, FileName name)
    : system_(FileSystem::current()), path_(std::move(path)) {
  FABRIC_CHECK(Checkpoint, path_.has_filename(), "[fabric.save] '", path_.string(),
               "' names no file");
  if (name == FileName::shared) {
    refuse_others();
  }
  std::random_device random;
  const std::string nonce = str(std::hex, random(), random());
  temporary_ = path_.parent_path() / (prefix_of(path_) + nonce);
  file_ = system_.open(temporary_.string(), O_RDWR | O_CREAT | O_EXCL, 0666);
  if (file_ < 0) {
    fail("cannot be made");
  }
  if (system_.lock(file_) != 0 && errno != ENOLCK && errno != EOPNOTSUPP) {
    fail("cannot be locked");
  }
  if (name == FileName::shared) {
    refuse_others();  // two may have begun at once: of those at least one sees the other here
  }
  reserve(size);
}

void OutputFile::refuse_others() {
  if (!remove_temporaries(path_, temporary_)) {
    discard();
    throw CheckpointError(
        str("[fabric.save] another process is saving to ", path_.string(),
            " (it has locked its temporary file there). Hint: two jobs need two paths."));
  }
}

void OutputFile::reserve(std::int64_t size) {
  if (size > 0 && system_.allocate(file_, size) != 0 && errno != EOPNOTSUPP && errno != ENOSYS &&
      errno != EINVAL) {
    fail(str("has no room for ", size, " bytes"));
  }
}

OutputFile::~OutputFile() {
  discard();
}

void OutputFile::discard() noexcept {
  if (file_ >= 0) {
    system_.unlink(temporary_.string());
    system_.close(std::exchange(file_, -1));
  }
}

void OutputFile::fail(const std::string& doing) {
  const int error = errno;
  discard();
  throw CheckpointError(str("[fabric.save] ", path_.string(), " ", doing,
                            "; got: ", std::strerror(error), cure_of(error)));
}

void OutputFile::write(std::int64_t offset, const void* from, std::int64_t count) {
  const auto* next = static_cast<const char*>(from);
  std::int64_t done = 0;
  while (done < count) {
    const ssize_t put =
        system_.pwrite(file_, next + done, static_cast<std::size_t>(count - done), offset + done);
    if (put < 0 && errno == EINTR) {
      continue;
    }
    // Several threads may be here: the file is closed by whoever owns it.
    FABRIC_CHECK(Checkpoint, put > 0, "[fabric.save] ", path_.string(),
                 " cannot be written at byte ", offset + done,
                 "; got: ", put < 0 ? reason() : std::string("nothing was taken"),
                 put < 0 ? cure_of(errno) : "");
    done += put;
  }
}

void OutputFile::start_writeback(std::int64_t offset, std::int64_t count) {
  system_.start_writeback(file_, offset, count);
}

void OutputFile::commit() {
  if (system_.fsync(file_) != 0) {
    fail("did not reach the disk");
  }
  // Closed before it gets its name: some file systems report errors only here.
  if (system_.close(std::exchange(file_, -1)) != 0) {
    const int error = errno;
    system_.unlink(temporary_.string());
    errno = error;
    fail("could not be closed");
  }
  if (system_.rename(temporary_.string(), path_.string()) != 0) {
    const int error = errno;
    system_.unlink(temporary_.string());
    errno = error;
    fail("cannot take its name");
  }
  if (sync_folder(system_, folder_of(path_)) != 0) {
    fail("may not last (its folder did not reach the disk)");
  }
}

}  // namespace fabric::detail
