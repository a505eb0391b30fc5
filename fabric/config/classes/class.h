// Class: a class chosen by name among all that are registered for a base.
#pragma once

#include <concepts>
#include <cstddef>
#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>

#include <accelerators/text.h>
#include <fabric/config/classes/choice.h>
#include <fabric/config/classes/registry.h>

namespace fabric {

/// Any class that is registered for a base, with its options; the object is made through the base:
///
///     struct Config { fabric::Class<torch::optim::Optimizer> optimizer = "AdamW"; };
///     auto optimizer = config.optimizer.make(model->parameters());
///
/// In texts it is `--optimizer=SGD --optimizer.lr=0.1`, or a block as for OneOf. Where the classes
/// are known and their own type matters, as for models, OneOf is the better choice.
template <class Base>
class Class : public config::Choice {
  using Factory = typename config::detail::FactoryOf<Base>::Function;

 public:
  /// No class: it has to be given.
  Class() = default;
  /// A class with the defaults of its options, or the one that is made from these options.
  /// @throws MisconfigurationError for what is not registered
  template <std::size_t N>
  Class(const char (&name)[N]) : Choice(classes(), std::string_view(name)) {}
  template <detail::RuntimeText Text>
  Class(const Text& name) : Choice(classes(), std::string_view(name)) {}
  template <class Options>
    requires(std::is_class_v<std::remove_cvref_t<Options>> &&
             !std::derived_from<std::remove_cvref_t<Options>, config::Choice> &&
             !detail::RuntimeText<std::remove_cvref_t<Options>> &&
             !config::detail::ConvertsToAnything<std::remove_cvref_t<Options>>)
  Class(Options&& options)
      : Choice(classes(), config::detail::class_options<std::remove_cvref_t<Options>>(),
               std::make_shared<std::remove_cvref_t<Options>>(std::forward<Options>(options))) {}

  /// An object of the chosen class.
  /// @param args those of fabric::Construct<Base>
  /// @throws MisconfigurationError where no class is chosen, or for a Provided option without a
  /// value
  template <class... Args>
  config::detail::ProductOf<Base> make(Args&&... args) const {
    static_assert(std::is_invocable_v<const Factory&, const void*, Args...>,
                  "make takes what fabric::Construct<Base> declares; include its specialisation");
    const config::detail::ClassEntry& chosen = complete();
    return (*static_cast<const Factory*>(chosen.factory.get()))(options(),
                                                                std::forward<Args>(args)...);
  }

  /// The table of the classes.
  static const config::detail::ClassTable& classes() { return config::detail::registry<Base>(); }
};

}  // namespace fabric
