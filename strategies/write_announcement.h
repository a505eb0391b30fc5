// Says that weights, optimizer state or averages are about to change, to whoever reads them
// meanwhile (a save that runs beside the program).
#pragma once

#include <atomic>
#include <string>

namespace fabric {

namespace detail {

/// Who hears of writes. One at a time.
struct WriteListener {
  void (*before)() = nullptr;
  void (*late)(const std::string& what) = nullptr;
};
inline std::atomic<const WriteListener*> write_listener{nullptr};

}  // namespace detail

/// Comes before such tensors are written. Costs nothing while nobody listens.
inline void announce_write() {
  if (const auto* listener = detail::write_listener.load(std::memory_order_acquire)) {
    listener->before();
  }
}

/// Comes when a write shows that others may have happened before it: a step that went past its
/// handle.
/// @param what happened ("aten::add_ wrote to parameter 'fc.weight'")
inline void announce_late_write(const std::string& what) {
  if (const auto* listener = detail::write_listener.load(std::memory_order_acquire)) {
    listener->late(what);
  }
}

}  // namespace fabric
