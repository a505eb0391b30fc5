// Flat gradient storage: slices of parameters in a few large tensors that are reduced whole.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include <accelerators/collectives/communicator.h>

namespace fabric {

/// One flat gradient tensor and the parameters whose gradients lie in it.
///
///   | slice 0 | pad | slice 1 | pad | … | use flags, one a member | round flag |
///
/// Slices start at 64-byte boundaries (vector loads and tensor cores want it). The flags at the
/// tail are reduced together with the gradients: a use flag above zero says that some rank has a
/// gradient for that member, a round flag above zero that some rank has any gradient at all.
struct GradientBucket {
  std::vector<std::size_t> members;  ///< indices of parameters
  std::vector<at::Tensor> slices;    ///< one a member, shaped and strided like the parameter
  at::Tensor storage;                ///< 1-D, all of the above
  at::Tensor flags;                  ///< (members + 1), the tail of storage
  at::Tensor message;                ///< storage rounded for the wire, undefined if sent as it is
  std::size_t pending = 0;           ///< members whose gradient is still to come in this round
  bool launched = false;
  PendingCollective reduction;
};

/// Lays gradients out in buckets.
/// @param parameters all parameters of a model
/// @param order indices of those that get a slice, in the order their gradients become ready
/// @param bucket_bytes where a bucket is closed; the first one closes at 1 MiB so that
///        communication starts early
/// Each bucket holds one dtype. Storage is zeroed, padding included.
std::vector<GradientBucket> make_gradient_buckets(const std::vector<at::Tensor>& parameters,
                                                  const std::vector<std::size_t>& order,
                                                  std::int64_t bucket_bytes);

}  // namespace fabric
