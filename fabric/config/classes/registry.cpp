#include <fabric/config/classes/registry.h>

#include <map>
#include <mutex>

namespace fabric::config::detail {

ClassTable& registered(std::type_index base, std::string_view spelled) {
  static std::mutex mutex;
  static std::map<std::type_index, ClassTable> tables;
  const std::lock_guard lock(mutex);
  ClassTable& table = tables[base];
  if (table.base.empty()) {
    table.base = class_name(spelled);
    table.open = true;
  }
  return table;
}

}  // namespace fabric::config::detail
