#include <fabric/checkpoint/staging.h>

#include <sys/mman.h>

#include <mutex>
#include <new>

namespace fabric::detail {
namespace {

class Region {
 public:
  explicit Region(std::size_t bytes) : bytes_(bytes) {
    void* memory =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
      throw std::bad_alloc();
    }
    memory_ = static_cast<char*>(memory);
    ::madvise(memory_, bytes_, MADV_HUGEPAGE);
  }
  ~Region() { ::munmap(memory_, bytes_); }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  char* memory() const { return memory_; }
  std::size_t bytes() const { return bytes_; }

 private:
  char* memory_ = nullptr;
  std::size_t bytes_;
};

}  // namespace

std::shared_ptr<char> staging_memory(std::size_t bytes) {
  static std::mutex mutex;
  static std::shared_ptr<Region> kept;
  const std::lock_guard lock(mutex);
  if (!kept || kept->bytes() < bytes || kept.use_count() > 1) {
    constexpr std::size_t kHugePage = std::size_t{2} << 20;
    kept.reset();  // before the new one: both at once would be twice the memory
    kept = std::make_shared<Region>((bytes + kHugePage - 1) / kHugePage * kHugePage);
  }
  return {kept, kept->memory()};
}

}  // namespace fabric::detail
