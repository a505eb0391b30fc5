// Collectives on plain memory, cut into pieces that suit Open MPI. They block.
#pragma once

#include <cstddef>
#include <cstdint>

#include <mpi.h>

#include <accelerators/collectives/mpi/datatypes.h>

namespace fabric::mpi::detail {

/// Who calls, over what.
struct Group {
  MPI_Comm comm = MPI_COMM_NULL;
  int rank = 0;
  int size = 1;
};

/// Reduces `count` elements at `data` over ranks, in place.
void all_reduce(const Group& group, void* data, std::int64_t count, const Reduction& reduction);

/// Copies `bytes` bytes at `data` from rank `source` to all.
void broadcast(const Group& group, void* data, std::int64_t bytes, int source);

/// Writes everyone's `bytes` bytes at `input` to `output`, in rank order. `input` may be slice
/// `rank` of `output`.
void all_gather(const Group& group, void* output, const void* input, std::int64_t bytes);

/// Reduces size × `count` elements at `input` and writes slice `rank` to `output`, which may be
/// that slice of `input`. `input` is not changed elsewhere.
void reduce_scatter(const Group& group, void* output, const void* input, std::int64_t count,
                    const Reduction& reduction);

void barrier(const Group& group);

}  // namespace fabric::mpi::detail
