// The classes that may be chosen for an option, by name.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <fabric/config/types/type.h>

namespace fabric::config::detail {

struct ClassTable;

/// A class: its name, and the struct of its options.
struct ClassEntry {
  std::string name{};
  TypeOf options_type = nullptr;
  std::shared_ptr<void> (*copy)(const void* options) = nullptr;
  /// What makes an object of it, for the one that knows its type.
  std::shared_ptr<const void> factory{};
  const ClassTable* table = nullptr;

  const StructType& options() const { return structure(options_type()); }
};

struct ClassTable {
  ClassTable() = default;
  ClassTable(const ClassTable&) = delete;  // entries know their table
  ClassTable& operator=(const ClassTable&) = delete;

  std::string base{};  ///< what they are: "Optimizer", "Net or Big"
  bool open = false;   ///< whether more may be registered
  std::vector<std::unique_ptr<const ClassEntry>> classes{};

  /// The class of this name; null where there is none.
  const ClassEntry* find(std::string_view name) const;
  std::vector<std::string> names() const;
  /// "Net or Big", for errors.
  std::string list() const;
  /// Whether any of them has this option, or value that the program provides.
  bool any_has(std::string_view option) const;

  /// @throws MisconfigurationError for a name that is there or is none, and for options with a name
  ///         of the block's own (class_path, init_args)
  const ClassEntry& add(ClassEntry entry);
};

/// "Net" for "[with T = app::NetImpl]": what a class is called in texts.
std::string class_name(std::string_view spelled);

}  // namespace fabric::config::detail
