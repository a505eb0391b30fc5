#include <fabric/config/run/hand_over.h>

#include <cstdlib>

#include <fabric/config/run/resolved_tree.h>
#include <fabric/config/sources/handed.h>

namespace fabric::config::detail {

void hand_over(const Resolved& resolved) {
  forget_handed();
  if (!resolved) {
    return;
  }
  for (const auto& [name, value] :
       variables_to_hand(*resolved.tree()->type, resolved.tree()->given)) {
    setenv(name.c_str(), value.c_str(), 1);
  }
}

void forget_handed() {
  for (std::size_t number = 0; std::getenv(handed_variable(number).c_str()) != nullptr; ++number) {
    unsetenv(handed_variable(number).c_str());
  }
}

}  // namespace fabric::config::detail
