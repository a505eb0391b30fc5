// Finds out where this process is in the world, by MPI alone.
#pragma once

#include <mpi.h>

#include <accelerators/collectives/world.h>

namespace fabric::mpi::detail {

/// Fills every field of World. Nodes are groups of processes that can share memory, never equal
/// host names. Collective over `comm`.
/// @param usable_cores receives how many cores the processes of this node may run on, together
World find_place(MPI_Comm comm, int& usable_cores);

}  // namespace fabric::mpi::detail
