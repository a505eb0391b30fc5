#include <accelerators/collectives/mpi/mpi_error.h>

#include <string>

#include <accelerators/error.h>

namespace fabric::mpi::detail {

void throw_mpi_error(int code, const char* call) {
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) {
    length = 0;
  }
  throw CommunicationError(fabric::detail::str("[fabric.mpi] ", call, " failed; got error ", code,
                                               ": ", std::string(text, length),
                                               ". Hint: every rank must make the same collectives, "
                                               "with the same sizes, in the same order."));
}

}  // namespace fabric::mpi::detail
