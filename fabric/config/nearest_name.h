// The name that was probably meant.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fabric::config::detail {

/// The name of a list that a text is most like, by letters that are missing, wrong, too many or
/// swapped; empty where none is near. Of dotted names the end counts too: "lr" is near
/// "optimizer.lr".
std::string nearest_name(std::string_view text, const std::vector<std::string>& names);

/// " Did you mean x?", or nothing.
std::string did_you_mean(const std::string& name);

}  // namespace fabric::config::detail
