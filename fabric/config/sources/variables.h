// Environment variables as options.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <fabric/config/tree/node.h>
#include <fabric/config/types/type.h>

namespace fabric::config::detail {

/// Name and value of each.
using Variables = std::vector<std::pair<std::string, std::string>>;

/// Those of this process.
Variables read_variables();

/// The value of one; null where it is not set, or empty, which is the same.
const std::string* find_variable(const Variables& variables, const std::string& name);

/// "TRAIN_MODEL__WIDTH" for `model.width` under the prefix "TRAIN_".
std::string variable_name(const std::string& prefix, const std::string& path);

/// What the variables give, sections before their parts: first those that a struct has wherever it
/// stands (FABRIC_DEVICES), then those under the program's prefix.
/// @param notes gets a line for each variable under the prefix that is no option's
std::vector<Node> values_of_variables(const StructType& type, const std::string& prefix,
                                      const Variables& variables, const std::string& folder,
                                      std::vector<std::string>& notes);

}  // namespace fabric::config::detail
