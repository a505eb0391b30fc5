// Copies to a device beside the work queued there: on a stream of their own.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

namespace fabric::detail {

/// The side stream of one loader. Through c10's interface, so that nothing here needs CUDA.
class SideStream {
 public:
  explicit SideStream(c10::Device device) : device_(device) {}

  /// Starts to copy `sources[i]` into the result's i-th tensor; returns at once where sources are
  /// pinned. Until `arrive(event)` the copies are not to be touched, nor let go of: they are
  /// memory of the current stream, which may give it to others at once.
  std::pair<std::vector<at::Tensor>, c10::Event> copy(const std::vector<at::Tensor>& sources);

  /// Makes the current stream wait for what `event` stands for; the host does not.
  void arrive(const c10::Event& event) const;

 private:
  c10::Device device_;
  std::optional<c10::Stream> stream_;  // taken at the first copy
};

}  // namespace fabric::detail
