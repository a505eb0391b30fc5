// How many bytes of CPU tensors are alive that were made while an object lives.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

namespace support {

/// Listens as a profiler does: what this thread, and backwards that it starts, allocate and free.
class LiveBytes {
 public:
  LiveBytes() : guard_(c10::DebugInfoKind::PROFILER_STATE, counter_) {}

  std::int64_t now() const { return counter_->live; }
  std::int64_t peak() const { return counter_->peak; }
  void reset_peak() { counter_->peak = counter_->live.load(); }

 private:
  struct Counter : c10::MemoryReportingInfoBase {
    void reportMemoryUsage(void*, int64_t bytes, size_t, size_t, c10::Device) override {
      live += bytes;
      peak = std::max(peak.load(), live.load());
    }
    bool memoryProfilingEnabled() const override { return true; }
    std::atomic<std::int64_t> live{0}, peak{0};
  };

  std::shared_ptr<Counter> counter_ = std::make_shared<Counter>();
  c10::DebugInfoGuard guard_;
};

}  // namespace support
