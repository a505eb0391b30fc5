// Counts what is allocated for tensors on the CPU, by any thread, while an object lives.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <utility>

#include <c10/core/CPUAllocator.h>

namespace support {

class CountingAllocator final : public c10::Allocator {
 public:
  /// One for the process: tensors may be freed after the count has ended.
  static CountingAllocator& instance() {
    static CountingAllocator& allocator = *new CountingAllocator;
    return allocator;
  }

  c10::DataPtr allocate(std::size_t bytes) override {
    c10::DataPtr data = inner_->allocate(bytes);
    const auto size = static_cast<std::int64_t>(bytes);
    const std::int64_t now = live += size;
    std::int64_t before = peak;
    while (before < now && !peak.compare_exchange_weak(before, now)) {
    }
    void* address = data.get();
    return {address, new Block{std::move(data), size}, &free_block, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    inner_->copy_data(to, from, bytes);
  }

  c10::Allocator* inner() const { return inner_; }
  std::atomic<std::int64_t> live{0}, peak{0};

 private:
  struct Block {
    c10::DataPtr data;
    std::int64_t bytes;
  };
  static void free_block(void* context) {
    auto* block = static_cast<Block*>(context);
    instance().live -= block->bytes;
    delete block;
  }
  CountingAllocator() : inner_(c10::GetCPUAllocator()) {}
  c10::Allocator* inner_;
};

/// The most bytes that were live at once since the object was made, and those that are now; what
/// was there before does not count.
class CountedMemory {
 public:
  CountedMemory() : allocator_(CountingAllocator::instance()) {
    c10::SetCPUAllocator(&allocator_);
    start_ = allocator_.live;
    allocator_.peak = start_;
  }
  ~CountedMemory() { c10::SetCPUAllocator(allocator_.inner()); }
  CountedMemory(const CountedMemory&) = delete;
  CountedMemory& operator=(const CountedMemory&) = delete;

  std::int64_t peak() const { return allocator_.peak - start_; }
  std::int64_t live() const { return allocator_.live - start_; }

 private:
  CountingAllocator& allocator_;
  std::int64_t start_;
};

}  // namespace support
