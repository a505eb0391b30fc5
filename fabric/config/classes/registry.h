// Registration: which classes a program knows by name, for each base.
#pragma once

#include <concepts>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <typeindex>
#include <utility>

#include <fabric/config/classes/options_of.h>
#include <fabric/config/classes/signature.h>
#include <fabric/config/classes/table.h>
#include <fabric/config/types/texts.h>
#include <fabric/config/types/type_of.h>

namespace fabric {

/// What the program gives when it makes an object of a class of this base, besides the options that
/// the user chose; and what it gets. Specialise it once, beside the base:
///
///     template <>
///     struct fabric::Construct<torch::optim::Optimizer> {
///       using Args = std::tuple<std::vector<torch::Tensor>>;   // make(model->parameters())
///       using Product = std::unique_ptr<torch::optim::Optimizer>;   // left out: a shared_ptr
///     };
template <class Base>
struct Construct {
  using Args = std::tuple<>;
};

namespace config::detail {

template <class Base>
struct ProductOfBase {
  using Product = std::shared_ptr<Base>;
};
template <class Base>
  requires requires { typename Construct<Base>::Product; }
struct ProductOfBase<Base> {
  using Product = typename Construct<Base>::Product;
};
template <class Base>
using ProductOf = typename ProductOfBase<Base>::Product;

/// Makes an object from options and what the program gives.
template <class Base, class Args = typename Construct<Base>::Args>
struct FactoryOf;
template <class Base, class... Args>
struct FactoryOf<Base, std::tuple<Args...>> {
  using Function = std::function<ProductOf<Base>(const void* options, Args...)>;
  template <class T>
  static constexpr bool makes = is_made_from_options<T, Args...>;
};

/// The one table of all classes of a base.
ClassTable& registered(std::type_index base, std::string_view spelled);

template <class Base>
ClassTable& registry() {
  return registered(typeid(Base), spelled_type<Base>());
}

template <class Base, class Options>
void register_entry(std::string name, typename FactoryOf<Base>::Function make) {
  ClassEntry entry = class_entry<Options>(std::move(name));
  entry.factory = std::make_shared<const typename FactoryOf<Base>::Function>(std::move(make));
  registry<Base>().add(std::move(entry));
}

/// One parameter more than the program gives: the options are the first.
template <class Base, class Factory, class... Args>
void register_function(std::string name, Factory factory, std::tuple<Args...>*) {
  using Parameters = typename Signature<Factory>::Arguments;
  constexpr std::size_t kCount = std::tuple_size_v<Parameters>;
  static_assert(kCount == sizeof...(Args) || kCount == sizeof...(Args) + 1,
                "a factory takes the options, where it has some, and then the Args of "
                "fabric::Construct<Base>");
  if constexpr (kCount == sizeof...(Args) + 1) {
    using Options = std::tuple_element_t<0, Parameters>;
    static_assert(std::is_invocable_r_v<ProductOf<Base>, Factory&, const Options&, Args...>,
                  "a factory takes its options and the Args of fabric::Construct<Base>, and "
                  "returns what a pointer to Base can be made of");
    register_entry<Base, Options>(
        std::move(name), [factory](const void* options, Args... args) mutable -> ProductOf<Base> {
          return factory(*static_cast<const Options*>(options), std::forward<Args>(args)...);
        });
  } else {
    static_assert(std::is_invocable_r_v<ProductOf<Base>, Factory&, Args...>,
                  "a factory takes the Args of fabric::Construct<Base>, and returns what a pointer "
                  "to Base can be made of");
    register_entry<Base, NoOptions>(
        std::move(name), [factory](const void*, Args... args) mutable -> ProductOf<Base> {
          return factory(std::forward<Args>(args)...);
        });
  }
}

}  // namespace config::detail

/// Lets `T` be chosen where a `Class<Base>` is asked for. Called at the begin of main, and by a
/// function of a library that its users call there: a static object of a library may not be linked.
///
///     struct Csv : Logger { struct Options { std::string file = "log.csv"; }; explicit
///     Csv(Options); }; fabric::register_class<Logger, Csv>();          // "Csv"; or ("csv")
///
/// @param name left out: that of the class, without an "Impl" at its end
/// @throws MisconfigurationError for a name that is taken
template <class Base, class T>
void register_class(std::string name = {}) {
  using Made = config::detail::MadeClassOf<T>;
  static_assert(std::is_base_of_v<Base, Made>,
                "register_class<Base, T>: T has to derive from Base");
  static_assert(config::detail::FactoryOf<Base>::template makes<T>,
                "register_class<Base, T>: T is made from its options and what the program gives. "
                "Give it `struct Options {…};` and a constructor that takes them, then the Args of "
                "fabric::Construct<Base>; or use register_factory<Base>(name, function)");
  if (name.empty()) {
    name = config::detail::class_name(config::detail::spelled_type<T>());
  }
  config::detail::register_entry<Base, config::detail::OptionsOf<T>>(
      std::move(name), [](const void* options, auto&&... args) -> config::detail::ProductOf<Base> {
        return config::detail::make_shared_class<T>(options, std::forward<decltype(args)>(args)...);
      });
}

/// The same by a function, for a class that is somebody else's:
///
///     fabric::register_factory<Optimizer>("Adam", [](const AdamConfig& options, Params params) {
///       return std::make_unique<Adam>(params, options.lr); });
template <class Base, class Factory>
void register_factory(std::string name, Factory factory) {
  static_assert(config::detail::HasSignature<Factory>,
                "register_factory: the function says what it takes; no generic lambda");
  if constexpr (config::detail::HasSignature<Factory>) {
    config::detail::register_function<Base>(std::move(name), std::move(factory),
                                            static_cast<typename Construct<Base>::Args*>(nullptr));
  }
}

}  // namespace fabric
