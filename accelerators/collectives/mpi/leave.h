// How a process leaves its job; internal to this folder. See leave.cpp.
#pragma once

#include <string>

namespace fabric::mpi::detail {

/// Called once by join() when MPI is ours. In a world of one it only arranges for MPI_Finalize.
void install_exit_handlers();

/// Writes one line to stderr: the text with rank and host. Safe while the process exits.
void say(const std::string& text);

}  // namespace fabric::mpi::detail
