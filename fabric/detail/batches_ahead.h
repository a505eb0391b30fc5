// Batches that are loaded, and on their way to the device, before the loop asks for them.
#pragma once

#include <cstddef>
#include <deque>
#include <exception>
#include <optional>
#include <utility>
#include <vector>

#include <fabric/detail/side_stream.h>
#include <fabric/structure.h>
#include <fabric/to_device.h>

namespace fabric::detail {

/// Hands out what a function loads, in its order, and runs `depth` batches ahead of that. What the
/// function throws comes out in place of its batch.
///
/// On devices that copy in stream order each batch is copied on a side stream while the step before
/// it computes; elsewhere, and with depth 0, by `to_device`.
template <class Batch>
class BatchesAhead {
 public:
  BatchesAhead(std::size_t depth, c10::Device device)
      : depth_(depth), device_(device), stream_(device) {}
  ~BatchesAhead() { clear(); }
  BatchesAhead(const BatchesAhead&) = delete;
  BatchesAhead& operator=(const BatchesAhead&) = delete;

  /// The next batch, valid on the current stream; nothing at the end.
  /// @param load gives the next std::optional<Batch>, nothing at the end
  template <class Load>
  std::optional<Batch> next(Load&& load) {
    // After an error nothing is loaded before it has come out: the loop may end there.
    while (!ended_ && queue_.size() <= depth_ && (queue_.empty() || !queue_.back().error)) {
      fetch(load);
    }
    if (queue_.empty()) {
      return std::nullopt;
    }
    Ahead ahead = std::move(queue_.front());
    queue_.pop_front();
    if (ahead.error) {
      std::rethrow_exception(ahead.error);
    }
    if (ahead.arrival) {
      stream_.arrive(*ahead.arrival);
    }
    return std::move(ahead.batch);
  }

  /// Lets go of all batches that were not handed out; `next` then loads from the beginning.
  void clear() noexcept {
    for (Ahead& ahead : queue_) {
      try {
        if (ahead.arrival) {
          stream_.arrive(*ahead.arrival);
        }
      } catch (const std::exception&) {
        // A broken device: nothing will use that memory any more.
      }
    }
    queue_.clear();
    ended_ = false;
  }

 private:
  struct Ahead {
    std::optional<Batch> batch;
    std::optional<c10::Event> arrival;
    std::exception_ptr error;
  };

  template <class Load>
  void fetch(Load& load) {
    Ahead ahead;
    try {
      ahead.batch = load();
      if (!ahead.batch) {
        ended_ = true;
        return;
      }
      if (depth_ > 0 && copies_in_stream_order(device_)) {
        ahead.arrival = start_copy(*ahead.batch);
      }
      ahead.batch = to_device(std::move(*ahead.batch), device_);
    } catch (...) {
      ahead = {};
      ahead.error = std::current_exception();
    }
    queue_.push_back(std::move(ahead));
  }

  // Puts tensors on the device in place of those elsewhere; they have their values at the result.
  std::optional<c10::Event> start_copy(Batch& batch) {
    std::vector<at::Tensor*> places;
    std::vector<at::Tensor> sources;
    visit_leaves(batch, [&](auto& leaf) {
      if constexpr (std::is_base_of_v<at::Tensor, std::remove_reference_t<decltype(leaf)>>) {
        if (leaf.defined() && leaf.device() != device_) {
          places.push_back(&leaf);
          sources.push_back(leaf);
        }
      }
    });
    if (sources.empty()) {
      return std::nullopt;
    }
    auto [copies, done] = stream_.copy(sources);
    for (std::size_t i = 0; i < places.size(); ++i) {
      *places[i] = std::move(copies[i]);
    }
    return std::move(done);
  }

  std::size_t depth_;
  c10::Device device_;
  SideStream stream_;
  std::deque<Ahead> queue_;
  bool ended_ = false;
};

}  // namespace fabric::detail
