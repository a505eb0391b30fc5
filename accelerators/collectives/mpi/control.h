// Small agreements over the whole world, without mpi.h; used to build process groups.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fabric::mpi {

/// Copies `size` bytes of rank `source` to every rank. Collective; in a world of one, or before
/// join(), it does nothing.
void control_broadcast(void* bytes, std::size_t size, int source);

/// Combines `words` bit by bit over all ranks: a bit stays set where every rank had it set.
/// Collective; in a world of one, or before join(), it does nothing.
void control_and(std::vector<std::uint64_t>& words, const char* what);

}  // namespace fabric::mpi
