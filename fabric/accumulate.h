// Gradient accumulation as a range: which micro-batch this is, how to scale its loss, and whether
// gradients are synchronised.
//
//     for (auto [batch, micro] : fabric.accumulate(*loader, 4)) {
//       fabric.backward(micro.scale(loss_of(batch)));
//       if (micro.last()) {
//         optimizer.step();
//         optimizer.zero_grad();
//       }
//     }
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <ranges>
#include <type_traits>
#include <utility>

#include <ATen/core/Tensor.h>

namespace fabric {

/// The place of one micro-batch in its window: the batches between two optimizer steps.
class Micro {
 public:
  Micro(std::size_t index, std::size_t count) : index_(index), count_(count) {}

  /// Returns `loss` divided by the number of micro-batches of this window, so that the window's
  /// gradients are the mean over it. The last window of an epoch may be shorter and is divided by
  /// its own length. A window of one returns `loss` itself.
  at::Tensor scale(const at::Tensor& loss) const;
  double scale(double loss) const { return loss / static_cast<double>(count_); }

  bool first() const { return index_ == 0; }
  /// Whether this is the one to step after; gradients are synchronised in its backward.
  bool last() const { return index_ + 1 == count_; }
  std::size_t index() const { return index_; }  ///< 0 … count() − 1
  std::size_t count() const { return count_; }  ///< micro-batches of this window

 private:
  std::size_t index_;
  std::size_t count_;
};

/// What the loop sees. `batch` refers to the range's own element.
template <class Reference>
struct MicroBatch {
  Reference batch;
  Micro micro;
};

namespace detail {

using SyncHook = std::function<void(bool)>;

/// Counts micro-batches and tells the hook. The hook hears false before all but the last of a
/// window, true before that one, and true when the counter goes: at the end, on break, on
/// exceptions.
class Accumulator {
 public:
  Accumulator(std::size_t total, std::int64_t window, SyncHook set_sync);
  ~Accumulator();
  Accumulator(Accumulator&& other) noexcept;
  Accumulator& operator=(Accumulator&&) = delete;

  /// Called before each batch of the range, and once with `at_end`.
  /// @throws MisconfigurationError when the range has other than `total` batches
  void step(bool at_end);
  Micro micro() const;

 private:
  void set_sync(bool enabled);

  std::size_t total_;
  std::size_t window_;
  SyncHook set_sync_;
  std::size_t seen_ = 0;
  bool synchronised_ = true;
};

/// Checks `window` for `accumulate` before any batch is loaded.
std::size_t checked_window(std::int64_t window);

template <class Range>
concept CountsRemaining = requires(Range& range) {
  { range.remaining() } -> std::convertible_to<std::size_t>;
};
template <class Range>
concept Sized =
    CountsRemaining<Range> || std::ranges::sized_range<Range> || requires(Range& range) {
      { range.size() } -> std::convertible_to<std::size_t>;
    };

/// A loader that resumes in mid-epoch yields fewer batches than its size.
template <class Range>
std::size_t batches_ahead(Range& range) {
  if constexpr (CountsRemaining<Range>) {
    return static_cast<std::size_t>(range.remaining());
  } else if constexpr (std::ranges::sized_range<Range>) {
    return static_cast<std::size_t>(std::ranges::size(range));
  } else if constexpr (Sized<Range>) {
    return static_cast<std::size_t>(range.size());
  } else {
    return 0;  // accumulate's static_assert has said what is missing
  }
}

}  // namespace detail

/// The range that `accumulate` returns. It may be iterated again: each time from the range's begin.
template <class Range>
class AccumulationRange {
  using Inner = std::remove_reference_t<Range>;
  using InnerIterator = decltype(std::declval<Inner&>().begin());
  using Reference = decltype(*std::declval<InnerIterator&>());

 public:
  AccumulationRange(Range&& range, std::int64_t window, detail::SyncHook set_sync)
      : range_(std::forward<Range>(range)), window_(window), set_sync_(std::move(set_sync)) {
    detail::checked_window(window);
  }

  class Iterator {
   public:
    using value_type = MicroBatch<Reference>;
    using difference_type = std::ptrdiff_t;

    Iterator(Inner& range, detail::Accumulator accumulator)
        : accumulator_(std::move(accumulator)), here_(range.begin()), end_(range.end()) {
      accumulator_.step(here_ == end_);
    }
    MicroBatch<Reference> operator*() { return {*here_, accumulator_.micro()}; }
    Iterator& operator++() {
      ++here_;
      accumulator_.step(here_ == end_);
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return here_ == end_; }

   private:
    detail::Accumulator accumulator_;
    InnerIterator here_;
    decltype(std::declval<Inner&>().end()) end_;
  };

  Iterator begin() {
    const std::size_t total = detail::batches_ahead(range_);
    return Iterator(range_, detail::Accumulator(total, window_, set_sync_));
  }
  std::default_sentinel_t end() const { return {}; }

 private:
  Range range_;  // a reference for lvalues
  std::int64_t window_;
  detail::SyncHook set_sync_;
};

/// Groups the batches of `range` into windows of `window` micro-batches, the last one shorter where
/// they do not divide. `set_sync(enabled)` is called before each batch, with true for the last of a
/// window only, and with true when the loop is left in any way; it must not throw.
///
/// `range` is a loader or any range that knows its size, kept by reference when it is an lvalue.
/// Every rank must run the same number of batches, as the loaders of fabric::make_data_loader do.
///
/// @throws MisconfigurationError for window < 1, and in the loop for a range that ends elsewhere
/// than
///         its size says: its last window would not have been synchronised
template <class Range>
AccumulationRange<Range> accumulate(Range&& range, std::int64_t window,
                                    std::function<void(bool)> set_sync = {}) {
  static_assert(
      detail::Sized<std::remove_reference_t<Range>>,
      "accumulate: the range must know its size, or nobody could tell which batch is the "
      "last of the epoch and must synchronise; give it a size() (LibTorch's own loader has "
      "none: make the loader with fabric.make_data_loader), or collect it into a "
      "std::vector.");
  return {std::forward<Range>(range), window, std::move(set_sync)};
}

}  // namespace fabric
