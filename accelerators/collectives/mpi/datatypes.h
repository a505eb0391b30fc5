// What MPI calls LibTorch's dtypes and reductions.
#pragma once

#include <cstddef>

#include <ATen/core/Tensor.h>
#include <mpi.h>
#include <torch/csrc/distributed/c10d/Types.hpp>

namespace fabric::mpi::detail {

/// All that is needed to reduce elements of one dtype by one operation.
struct Reduction {
  MPI_Datatype type = MPI_DATATYPE_NULL;
  MPI_Op op = MPI_OP_NULL;
  std::size_t item = 0;  ///< bytes of an element
  /// For means: divides `count` elements at `data` in place. Null for other reductions.
  void (*divide)(void* data, std::size_t count, int divisor) = nullptr;
};

/// Finds the reduction. float, double, half, bfloat16, (u)int8 to (u)int64 and bool (sum and max
/// are "or", min and product are "and"); means for the floating-point ones.
/// @param where the collective, for the text
/// @throws CommunicationError for another dtype or operation
Reduction reduction_for(const char* where, at::ScalarType dtype, const c10d::ReduceOp& op);

}  // namespace fabric::mpi::detail
