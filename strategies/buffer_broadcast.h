// Tensors of one model made equal on all ranks.
#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include <accelerators/collectives/communicator.h>

namespace fabric {

/// Tensors of one model (buffers), sent from one rank in one message per dtype.
class BufferBroadcast {
 public:
  BufferBroadcast() = default;
  explicit BufferBroadcast(std::vector<at::Tensor> buffers);

  /// Makes everyone's buffers equal to rank `source`'s. Their version counters do not move: a
  /// second forward before backward (two batches through one BatchNorm) stays legal.
  void run(const Communicator& communicator, int source) const;

 private:
  std::vector<at::Tensor> buffers_;
};

}  // namespace fabric
