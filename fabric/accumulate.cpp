#include <fabric/accumulate.h>

#include <algorithm>

#include <accelerators/error.h>

namespace fabric {

at::Tensor Micro::scale(const at::Tensor& loss) const {
  return count_ == 1 ? loss : loss.div(static_cast<double>(count_));
}

namespace detail {

std::size_t checked_window(std::int64_t window) {
  FABRIC_CHECK(Misconfiguration, window >= 1,
               "[fabric.accumulate] a step needs at least one batch; got ", window,
               "; expected 1 or more micro-batches.");
  return static_cast<std::size_t>(window);
}

Accumulator::Accumulator(std::size_t total, std::int64_t window, SyncHook set_sync)
    : total_(total), window_(checked_window(window)), set_sync_(std::move(set_sync)) {}

Accumulator::Accumulator(Accumulator&& other) noexcept
    : total_(other.total_),
      window_(other.window_),
      set_sync_(std::exchange(other.set_sync_, nullptr)),
      seen_(other.seen_),
      synchronised_(std::exchange(other.synchronised_, true)) {}

Accumulator::~Accumulator() {
  if (!synchronised_) {
    set_sync(true);
  }
}

void Accumulator::set_sync(bool enabled) {
  synchronised_ = enabled;
  if (set_sync_) {
    set_sync_(enabled);
  }
}

void Accumulator::step(bool at_end) {
  // Thrown before a surplus batch is seen, and where a window stays open.
  FABRIC_CHECK(Misconfiguration, at_end == (seen_ == total_),
               "[fabric.accumulate] the range does not have the size it announced; got ",
               at_end ? "only " : "more than ", seen_, " batches; expected ", total_,
               ". Hint: size() must be the number of batches of one iteration.");
  if (!at_end) {
    ++seen_;
    set_sync(micro().last());
  }
}

Micro Accumulator::micro() const {
  const std::size_t index = (seen_ - 1) % window_;
  const std::size_t begin = seen_ - 1 - index;
  return {index, std::min(window_, total_ - begin)};
}

}  // namespace detail
}  // namespace fabric
