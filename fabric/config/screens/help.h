// What `--help` shows.
#pragma once

#include <string>
#include <vector>

#include <fabric/config/classes/table.h>
#include <fabric/config/links/links.h>
#include <fabric/config/options.h>
#include <fabric/config/tree/node.h>
#include <fabric/config/types/type.h>

namespace fabric::config::detail {

/// All options by section, each with its type, its help and its default; those that links give are
/// listed apart. Of a class, the options are those of the one that the program chooses.
/// @param command whose section comes first, with names as they are given behind it; empty for none
/// @param commands the list of a program that has several, and none of them is chosen
std::string help_screen(const StructType& type, const Node& defaults, const ParserOptions& options,
                        const Links& links = {}, const std::string& command = {},
                        const std::string& commands = {});

/// A name in the left column, and what it is beside it, or below where the name is long.
/// @param type comes last, in one line where it is no longer than one
std::string help_entry(const std::string& name, const std::string& help,
                       const std::string& type = {});

/// The screen of `--model.help=Net`: the options of a class; of all where no name is given.
/// @param tables the classes that may be chosen for the option `path`
/// @param section what the paths of links have before `path`: that of a command
/// @param wrong becomes an error where the name is none of a class
std::string class_help_screen(const std::vector<const ClassTable*>& tables, const std::string& path,
                              const std::string& name, const Links& links,
                              const std::string& section, std::string& wrong);

}  // namespace fabric::config::detail
