// What a function takes and returns.
#pragma once

#include <tuple>
#include <type_traits>

namespace fabric::config::detail {

/// `Arguments`, a tuple of the parameters' types without const and &, and `Result`. Of a function,
/// a pointer to one, or an object with one call operator: not of a generic lambda, which says
/// nothing.
template <class Function>
struct Signature : Signature<decltype(&Function::operator())> {};
template <class R, class... Parameters>
struct Signature<R(Parameters...)> {
  using Result = R;
  using Arguments = std::tuple<std::remove_cvref_t<Parameters>...>;
};
template <class R, class... Parameters>
struct Signature<R (*)(Parameters...)> : Signature<R(Parameters...)> {};
template <class R, class... Parameters>
struct Signature<R (*)(Parameters...) noexcept> : Signature<R(Parameters...)> {};
template <class R, class Object, class... Parameters>
struct Signature<R (Object::*)(Parameters...) const> : Signature<R(Parameters...)> {};
template <class R, class Object, class... Parameters>
struct Signature<R (Object::*)(Parameters...) const noexcept> : Signature<R(Parameters...)> {};
template <class R, class Object, class... Parameters>
struct Signature<R (Object::*)(Parameters...)> : Signature<R(Parameters...)> {};

/// Whether there is one.
template <class Function>
concept HasSignature =
    std::is_function_v<std::remove_pointer_t<Function>> || requires { &Function::operator(); };

}  // namespace fabric::config::detail
