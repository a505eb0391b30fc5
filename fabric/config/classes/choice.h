// What is known of a chosen class without its type: OneOf and Class share it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <type_traits>

#include <fabric/config/classes/options_of.h>
#include <fabric/config/classes/table.h>
#include <fabric/config/types/containers.h>

namespace fabric::config {

/// The name of a class and its options; or nothing yet. Copies are independent.
///
/// An option without a choice has to be given one, as a Required; std::optional<OneOf<…>> may stay
/// without.
class Choice {
 public:
  Choice() = default;
  Choice(const Choice& other);
  Choice(Choice&& other) noexcept = default;
  Choice& operator=(const Choice& other);
  Choice& operator=(Choice&& other) noexcept = default;
  ~Choice() = default;

  bool has_value() const { return entry_ != nullptr; }
  /// What the class is called. @throws MisconfigurationError where none is chosen
  const std::string& name() const { return entry().name; }
  bool is(std::string_view name) const { return entry_ != nullptr && entry_->name == name; }
  /// The options of the chosen class; null where they are of another type.
  ///
  ///     if (auto* net = config.model.get_if<Net::Options>()) { … net->width … }
  template <class Options>
  const Options* get_if() const {
    const bool same = entry_ != nullptr && &entry_->options() == &detail::class_options<Options>();
    return same ? static_cast<const Options*>(options_.get()) : nullptr;
  }

  /// Gives an option that is Provided its value. Of a class that has no such option nothing
  /// changes: the program need not know which is chosen.
  /// @throws MisconfigurationError for an option that no class has, that is not Provided, or whose
  ///         type takes no such value
  template <class Value>
  void set(std::string_view option, const Value& value) {
    if constexpr (std::is_convertible_v<const Value&, std::string>) {
      const std::string text = value;
      set_value(option, detail::type_of<std::string>(), &text);
    } else {
      set_value(option, detail::type_of<Value>(), &value);
    }
  }

  /// @throws MisconfigurationError where none is chosen
  const detail::ClassEntry& entry() const;
  const void* options() const { return options_.get(); }
  void* options() { return options_.get(); }
  /// Another class, with the defaults of its options.
  void choose(const detail::ClassEntry& entry);
  void choose(const detail::ClassEntry& entry, std::shared_ptr<void> options);
  void reset();

 protected:
  /// @throws MisconfigurationError for a name that the table has not
  Choice(const detail::ClassTable& table, std::string_view name);
  /// The only class with options of this type.
  /// @throws MisconfigurationError where there is none, or where two have them
  Choice(const detail::ClassTable& table, const detail::StructType& type,
         std::shared_ptr<void> options);
  /// What `make` asks first. @throws MisconfigurationError for Provided options without a value
  const detail::ClassEntry& complete() const;

 private:
  void set_value(std::string_view option, const detail::Type& type, const void* value);

  const detail::ClassEntry* entry_ = nullptr;
  std::shared_ptr<void> options_{};
};

namespace detail {

template <class OfClasses>
const Type& choice_type() {
  static const ChoiceType type{
      {Type::Kind::choice},
      []() -> const ClassTable& { return OfClasses::classes(); },
      [](void* choice) -> Choice& { return *static_cast<OfClasses*>(choice); }};
  return type;
}

}  // namespace detail
}  // namespace fabric::config
