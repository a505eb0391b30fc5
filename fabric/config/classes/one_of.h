// OneOf: a class chosen by name among a few that the program names.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <accelerators/text.h>
#include <fabric/config/classes/choice.h>
#include <fabric/config/classes/options_of.h>
#include <fabric/config/types/texts.h>
#include <fabric/config/types/type_of.h>

namespace fabric {

/// One of these classes, with its options; `make` keeps static types:
///
///     struct NetImpl : torch::nn::Module {
///       struct Options { int64_t width = 64; };
///       explicit NetImpl(const Options& options);
///       …
///     };
///     TORCH_MODULE(Net);
///
///     struct Config { fabric::OneOf<Net, Big> model = BigImpl::Options{.depth = 4}; };
///     config.model.make([&](auto model) { train(fabric, model); });   // a Net or a Big
///
/// In texts it is `--model=Net --model.width=32`, or `model: {class_path: Net, init_args: {width:
/// 32}}`. Names are those of the classes; NetImpl and Net are both "Net".
template <class... Classes>
class OneOf : public config::Choice {
  static_assert(sizeof...(Classes) > 0, "OneOf names the classes that may be chosen");
  template <class Options>
  static constexpr std::size_t kMadeFrom =
      (std::size_t{0} + ... +
       (std::is_same_v<Options, config::detail::OptionsOf<Classes>> ? 1 : 0));

 public:
  /// No class: it has to be given.
  OneOf() = default;
  /// The class that is made from these options.
  template <class Options>
    requires(kMadeFrom<std::remove_cvref_t<Options>> > 0)
  OneOf(Options&& options)
      : Choice(classes(), config::detail::class_options<std::remove_cvref_t<Options>>(),
               std::make_shared<std::remove_cvref_t<Options>>(std::forward<Options>(options))) {
    static_assert(kMadeFrom<std::remove_cvref_t<Options>> == 1,
                  "two of these classes are made from the same options: choose by name");
  }
  /// A class with the defaults of its options. @throws MisconfigurationError for another name
  template <std::size_t N>
  OneOf(const char (&name)[N]) : Choice(classes(), std::string_view(name)) {}
  template <detail::RuntimeText Text>
  OneOf(const Text& name) : Choice(classes(), std::string_view(name)) {}

  /// Makes the chosen class from its options, and `args` where its constructor takes more; gives it
  /// to `visit`, and returns what that returns. Modules come in their holder, or a shared_ptr.
  /// @throws MisconfigurationError where none is chosen, or for a Provided option without a value
  template <class Visit, class... Args>
  auto make(Visit&& visit, const Args&... args) const {
    static_assert((config::detail::is_made_from_options<Classes, const Args&...> && ...),
                  "a class of OneOf is made from its options: give it `struct Options {…};` and a "
                  "constructor that takes them, and then what is given to make");
    using Result = std::common_type_t<Returned<Visit, Classes, Args...>...>;
    using Make = Result (*)(const void*, Visit&, const Args&...);
    constexpr std::array<Make, sizeof...(Classes)> makes{
        [](const void* options, Visit& visit, const Args&... args) -> Result {
          return visit(config::detail::make_class<Classes>(options, args...));
        }...};
    const config::detail::ClassEntry& chosen = complete();
    std::size_t index = 0;
    while (classes().classes[index].get() != &chosen) {
      ++index;
    }
    return makes[index](options(), visit, args...);
  }

  /// The table of the classes.
  static const config::detail::ClassTable& classes() {
    struct Filled : config::detail::ClassTable {
      Filled() {
        base = "OneOf";
        (add(config::detail::class_entry<config::detail::OptionsOf<Classes>>(
             config::detail::class_name(config::detail::spelled_type<Classes>()))),
         ...);
        base = list();
      }
    };
    static const Filled table;
    return table;
  }

 private:
  template <class Visit, class T, class... Args>
  using Returned = decltype(std::declval<Visit&>()(config::detail::make_class<T>(
      static_cast<const void*>(nullptr), std::declval<const Args&>()...)));
};

}  // namespace fabric
