// Which of a program's default files are there.
#pragma once

#include <string>
#include <vector>

namespace fabric::config::detail {

/// The files that a pattern ("conf/*.yaml") names, in order; relative ones as the user would write
/// them.
/// @param folder the working directory
std::vector<std::string> matching_files(const std::string& pattern, const std::string& folder);

}  // namespace fabric::config::detail
