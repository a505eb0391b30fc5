// Arguments about classes: which comes first, and which ask for help.
#pragma once

#include <string>
#include <vector>

#include <fabric/config/sources/arguments.h>
#include <fabric/config/types/type.h>

namespace fabric::config::detail {

/// Lets options of a class follow the class where it is named later on the command line:
/// `--model.width 3 --model Net` is read as `--model Net --model.width 3`. Those behind the first
/// name stay where they are.
std::vector<Argument> classes_first(const StructType& type, std::vector<Argument> arguments);

/// The classes that may be chosen for an option, in whatever classes it lies, or for the elements
/// of a list; empty for other options.
std::vector<const ClassTable*> choices_at(const StructType& type, const std::string& path);

}  // namespace fabric::config::detail
