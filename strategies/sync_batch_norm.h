// Batch normalisation with the statistics of all ranks' batches.
//
// LibTorch's BatchNorm modules cannot be exchanged for others: users hold them as typed members,
// and their forward is not virtual. So the operator is intercepted instead: one tensor of each
// layer (its running mean, or its weight) carries a dispatch key, and aten::batch_norm has a kernel
// for that key. This works for TorchScript modules and functional calls as well.
#pragma once

#include <ATen/core/Tensor.h>

#include <accelerators/collectives/communicator.h>

namespace fabric {

/// From now on, aten::batch_norm with `anchor` among its arguments normalises in training with the
/// mean and variance over the batches of all ranks, gradients included. In evaluation and in a
/// world of one nothing changes. Ranks may have batches of different sizes, also empty ones.
/// @param anchor the layer's running_mean, or its weight where it keeps no running statistics
/// @param communicator carries the statistics, on the device of the inputs
void synchronise_batch_norm(const at::Tensor& anchor, const Communicator& communicator);

/// Gives anchors their key again after `Module::to` replaced their data.
void refresh_batch_norm_anchors();

}  // namespace fabric
