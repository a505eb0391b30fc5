// What every fuzzed reader has to keep: whatever the input is, it is read or a CheckpointError says
// why not, and memory stays in proportion to the input.
//
// A target is one source that defines `read_input`. The plain driver (driver.cpp) and libFuzzer
// (libfuzzer.cpp) call it through `check_input`.
#pragma once

#include <string>
#include <string_view>

#include <fabric/checkpoint/state_value.h>

namespace fuzz {

/// Defined by the target: reads the input as far as its reader goes.
/// @throws CheckpointError for an input that the reader refuses
void read_input(std::string_view input);

/// Runs `read_input`, and ends the process where the reader does not keep what it has to.
/// @returns why the input was refused; empty where it was taken
std::string check_input(std::string_view input);

/// Looks at all of a state: every text, and the elements of tensors that are not large.
void touch(const fabric::StateValue& state);

}  // namespace fuzz
