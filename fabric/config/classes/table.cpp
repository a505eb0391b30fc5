#include <fabric/config/classes/table.h>

#include <algorithm>
#include <utility>

#include <accelerators/error.h>
#include <accelerators/text.h>
#include <fabric/config/tree/emitter.h>

namespace fabric::config::detail {

const ClassEntry* ClassTable::find(std::string_view name) const {
  for (const auto& entry : classes) {
    if (entry->name == name) {
      return entry.get();
    }
  }
  return nullptr;
}

std::vector<std::string> ClassTable::names() const {
  std::vector<std::string> all;
  for (const auto& entry : classes) {
    all.push_back(entry->name);
  }
  return all;
}

std::string ClassTable::list() const {
  return classes.empty() ? "nothing: no class of " + base + " is registered"
                         : fabric::detail::list_or(names());
}

bool ClassTable::any_has(std::string_view option) const {
  return std::any_of(classes.begin(), classes.end(), [option](const auto& entry) {
    const auto& fields = entry->options().fields;
    return std::any_of(fields.begin(), fields.end(), [option](const Field& field) {
      return field.option() == option && field.type().kind != Type::Kind::resolved;
    });
  });
}

const ClassEntry& ClassTable::add(ClassEntry entry) {
  // Dots and slashes would make paths of it.
  FABRIC_CHECK(Misconfiguration,
               !entry.name.empty() && entry.name.find_first_of("./ \t\n{}[]$") == std::string::npos,
               "[fabric.config] a class has a name of letters and digits; got '", entry.name, "'");
  FABRIC_CHECK(Misconfiguration, !reads_as_other(entry.name), "[fabric.config] '", entry.name,
               "' is no name of a class: YAML has another meaning for it");
  FABRIC_CHECK(Misconfiguration, find(entry.name) == nullptr, "[fabric.config] two classes of ",
               base, " have the name '", entry.name, "'. Hint: register one under another name.");
  for (const char* name : {"class_path", "init_args", "help"}) {
    FABRIC_CHECK(Misconfiguration, entry.options().find(name) == nullptr, "[fabric.config] ",
                 entry.name, " has an option '", name,
                 "', which blocks of classes need for themselves. Hint: give it another name.");
  }
  entry.table = this;
  classes.push_back(std::make_unique<const ClassEntry>(std::move(entry)));
  return *classes.back();
}

std::string class_name(std::string_view spelled) {
  std::string_view type = spelled.substr(std::min(spelled.find("T = ") + 4, spelled.size()));
  type = type.substr(0, type.find_first_of(";]<"));
  type = type.substr(type.rfind(':') + 1);
  constexpr std::string_view kImpl = "Impl";  // of a LibTorch module behind a holder
  if (type.size() > kImpl.size() && type.ends_with(kImpl)) {
    type.remove_suffix(kImpl.size());
  }
  return std::string(type);
}

}  // namespace fabric::config::detail
