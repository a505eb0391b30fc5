// Turns MPI return codes into errors of the toolkit.
#pragma once

#include <mpi.h>

namespace fabric::mpi::detail {

[[noreturn]] void throw_mpi_error(int code, const char* call);

/// Throws CommunicationError with MPI's own text unless `code` is MPI_SUCCESS.
inline void check(int code, const char* call) {
  if (code != MPI_SUCCESS) [[unlikely]] {
    throw_mpi_error(code, call);
  }
}

}  // namespace fabric::mpi::detail
