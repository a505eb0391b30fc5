// How a program ends that shows a screen or errors instead of running.
#pragma once

#include <string>
#include <vector>

#include <fabric/config/error.h>

namespace fabric::config::detail {

/// Writes a screen to standard output and ends the process with 0. Under a launcher only the first
/// process writes. MPI is not needed.
[[noreturn]] void end_with_screen(const std::string& screen);

/// Writes errors to standard error and ends the process with 2. Under a launcher the first process
/// writes; the others wait some seconds and write only if they still live then: the first one may
/// have found no error, and if they left before it, mpirun would end it before its text is out.
[[noreturn]] void end_with_errors(const std::string& program, const ConfigError& error);

/// Writes notes to standard error, on the first process.
void show_notes(const std::string& program, const std::vector<std::string>& notes);

/// The rank of this process: of the joined world, or as its launcher says.
int rank_of_process();

/// "train: 2 errors in the configuration" and a line for each.
std::string error_screen(const std::string& program, const ConfigError& error);

}  // namespace fabric::config::detail
