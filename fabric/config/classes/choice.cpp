#include <fabric/config/classes/choice.h>

#include <utility>

#include <accelerators/error.h>
#include <accelerators/text.h>
#include <fabric/config/nearest_name.h>
#include <fabric/config/tree/node.h>
#include <fabric/config/types/problems.h>
#include <fabric/config/types/read.h>
#include <fabric/config/types/write.h>

namespace fabric::config {

using detail::ClassEntry;
using detail::ClassTable;
using detail::Field;
using detail::Type;

Choice::Choice(const Choice& other)
    : entry_(other.entry_),
      options_(other.options_ != nullptr ? other.entry_->copy(other.options_.get()) : nullptr) {}

Choice& Choice::operator=(const Choice& other) {
  return *this = Choice(other);
}

Choice::Choice(const ClassTable& table, std::string_view name) {
  const ClassEntry* entry = table.find(name);
  const std::string nearest = detail::nearest_name(name, table.names());
  FABRIC_CHECK(Misconfiguration, entry != nullptr, "[fabric.config] no such class of ", table.base,
               "; got '", name, "'; expected ", table.list(),
               nearest.empty() ? std::string(".") : detail::did_you_mean(nearest),
               " Hint: classes are registered before a configuration names them.");
  choose(*entry);
}

Choice::Choice(const ClassTable& table, const detail::StructType& type,
               std::shared_ptr<void> options) {
  for (const auto& entry : table.classes) {
    if (&entry->options() == &type) {
      FABRIC_CHECK(Misconfiguration, entry_ == nullptr, "[fabric.config] ", entry_->name, " and ",
                   entry->name, " are made from the same options. Hint: choose by name.");
      entry_ = entry.get();
    }
  }
  FABRIC_CHECK(Misconfiguration, entry_ != nullptr, "[fabric.config] no class of ", table.base,
               " is made from these options; registered are ", table.list(),
               ". Hint: classes are registered before a configuration chooses them.");
  options_ = std::move(options);
}

const ClassEntry& Choice::entry() const {
  FABRIC_CHECK(Misconfiguration, entry_ != nullptr,
               "[fabric.config] no class is chosen. Hint: a choice that no parser filled has to "
               "get its class from the program.");
  return *entry_;
}

void Choice::choose(const ClassEntry& entry) {
  choose(entry, entry.options().make());
}

void Choice::choose(const ClassEntry& entry, std::shared_ptr<void> options) {
  entry_ = &entry;
  options_ = std::move(options);
}

void Choice::reset() {
  entry_ = nullptr;
  options_.reset();
}

void Choice::set_value(std::string_view option, const Type& type, const void* value) {
  for (const Field& field : entry().options().fields) {
    if (field.option() != option) {
      continue;
    }
    FABRIC_CHECK(Misconfiguration, field.type().kind == Type::Kind::provided, "[fabric.config] ",
                 name(), ".", option,
                 " is the user's to give. Hint: what the program provides is declared as "
                 "fabric::Provided<T>.");
    detail::Problems problems;
    field.visit(
        options_.get(),
        [&](void* part) {
          const detail::ProvidedType& here = detail::provided(field.type());
          detail::read(here.value(), here.emplace(part), detail::write(type, value),
                       std::string(option), problems);
        },
        /*store=*/true);
    FABRIC_CHECK(Misconfiguration, problems.empty(), "[fabric.config] ", name(), ".", option, ": ",
                 problems.empty() ? "" : problems.list().front().text);
    return;
  }
  FABRIC_CHECK(Misconfiguration, entry().table->any_has(option), "[fabric.config] no class of ",
               entry().table->base, " has an option '", option, "'; there are ",
               entry().table->list());
}

const ClassEntry& Choice::complete() const {
  std::vector<std::string> missing;
  for (const Field& field : entry().options().fields) {
    if (field.type().kind == Type::Kind::provided) {
      field.visit(
          const_cast<void*>(options_.get()),
          [&](void* part) {
            if (!detail::provided(field.type()).has_value(part)) {
              missing.emplace_back(field.option());
            }
          },
          /*store=*/false);
    }
  }
  FABRIC_CHECK(Misconfiguration, missing.empty(), "[fabric.config] ", name(),
               " cannot be made yet: the program has to provide ",
               missing.empty() ? "" : missing.front(), ". Hint: set(\"",
               missing.empty() ? "" : missing.front(), "\", value) before make.");
  return entry();
}

}  // namespace fabric::config
