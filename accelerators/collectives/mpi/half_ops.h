// Reductions of 2-byte floating-point elements, which Open MPI 4.1 does not know.
#pragma once

#include <mpi.h>
#include <torch/csrc/distributed/c10d/Types.hpp>

namespace fabric::mpi::detail {

/// A 2-byte MPI type. Half and bfloat16 have one each, so that texts of MPI tell them apart.
MPI_Datatype half_type();
MPI_Datatype bfloat16_type();

/// The operation for SUM, PRODUCT, MIN and MAX (each step computes in float and rounds to nearest
/// even); MPI_OP_NULL for others.
MPI_Op half_op(c10d::ReduceOp::RedOpType op);
MPI_Op bfloat16_op(c10d::ReduceOp::RedOpType op);

void divide_half(void* data, std::size_t count, int divisor);
void divide_bfloat16(void* data, std::size_t count, int divisor);

}  // namespace fabric::mpi::detail
