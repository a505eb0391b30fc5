// Which options a class is made from, and how.
#pragma once

#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>

#include <fabric/config/classes/table.h>
#include <fabric/config/types/containers.h>

namespace fabric::config::detail {

/// A class without options has these.
struct NoOptions {};

/// What `TORCH_MODULE(Net)` makes of NetImpl.
template <class T>
concept ModuleHolder = requires(const T& holder) {
  typename T::ContainedType;
  holder.ptr();
};

template <class T>
struct MadeClass {
  using Class = T;
};
template <ModuleHolder T>
struct MadeClass<T> {
  using Class = typename T::ContainedType;
};
/// The class itself: NetImpl for Net.
template <class T>
using MadeClassOf = typename MadeClass<T>::Class;

template <class T>
struct OptionsOfClass {
  using Options = NoOptions;
};
template <class T>
  requires requires { typename T::Options; }
struct OptionsOfClass<T> {
  using Options = typename T::Options;
};
/// `Net::Options`, also of a holder; NoOptions for a class without.
template <class T>
using OptionsOf = typename OptionsOfClass<MadeClassOf<T>>::Options;

/// Whether `T(options, args…)` makes one; without options `T(args…)`.
template <class T, class... Args>
inline constexpr bool is_made_from_options =
    std::is_same_v<OptionsOf<T>, NoOptions>
        ? std::is_constructible_v<MadeClassOf<T>, Args...>
        : std::is_constructible_v<MadeClassOf<T>, const OptionsOf<T>&, Args...>;

/// Defined in type_of.h.
template <class Options>
const StructType& class_options();

/// A class's entry in a table, but for what makes it.
template <class Options>
ClassEntry class_entry(std::string name) {
  return {.name = std::move(name),
          .options_type = []() -> const Type& { return class_options<Options>(); },
          .copy =
              [](const void* options) {
                return std::static_pointer_cast<void>(
                    std::make_shared<Options>(*static_cast<const Options*>(options)));
              }};
}

template <class T, class... Args>
std::shared_ptr<MadeClassOf<T>> make_shared_class(const void* options, Args&&... args) {
  if constexpr (std::is_same_v<OptionsOf<T>, NoOptions>) {
    return std::make_shared<MadeClassOf<T>>(std::forward<Args>(args)...);
  } else {
    return std::make_shared<MadeClassOf<T>>(*static_cast<const OptionsOf<T>*>(options),
                                            std::forward<Args>(args)...);
  }
}

/// A holder for what has one, a std::shared_ptr for other modules, and an object for all else.
template <class T, class... Args>
auto make_class(const void* options, Args&&... args) {
  if constexpr (ModuleHolder<T>) {
    return T(make_shared_class<T>(options, std::forward<Args>(args)...));
  } else if constexpr (requires(T& object) { object.shared_from_this(); }) {
    return make_shared_class<T>(options, std::forward<Args>(args)...);
  } else if constexpr (std::is_same_v<OptionsOf<T>, NoOptions>) {
    return T(std::forward<Args>(args)...);
  } else {
    return T(*static_cast<const OptionsOf<T>*>(options), std::forward<Args>(args)...);
  }
}

/// Boost.PFR counts fields with an object that converts to everything: no constructor may take it.
struct Anything {};
template <class T>
concept ConvertsToAnything =
    std::is_convertible_v<T, Anything> || std::is_convertible_v<T, Anything&>;

}  // namespace fabric::config::detail
