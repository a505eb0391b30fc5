// The reductions of the toolkit, by name: "sum", "mean", "min", "max", "product".
#pragma once

#include <string>
#include <string_view>

#include <accelerators/error.h>

namespace fabric {

/// A reduction over ranks. A literal is checked at compile time: `all_reduce(x, "mena")` does not
/// compile. A `std::string` is checked when it is converted and throws MisconfigurationError.
class ReduceOp {
 public:
  enum Kind { sum, mean, min, max, product };

  constexpr ReduceOp(Kind kind) : kind_(kind) {}

  template <std::size_t N>
  consteval ReduceOp(const char (&name)[N]) : kind_(parse(std::string_view(name, N - 1))) {}

  ReduceOp(const std::string& name) {
    FABRIC_CHECK(Misconfiguration, known(name), "[fabric.reduce_op] unknown reduction; got '", name,
                 "'; expected sum, mean, min, max or product");
    kind_ = parse(name);
  }

  constexpr Kind kind() const { return kind_; }
  constexpr const char* name() const { return kNames[kind_]; }
  friend constexpr bool operator==(ReduceOp a, ReduceOp b) { return a.kind_ == b.kind_; }

 private:
  static constexpr const char* kNames[] = {"sum", "mean", "min", "max", "product"};

  static constexpr bool known(std::string_view name) {
    for (const char* candidate : kNames) {
      if (name == candidate) {
        return true;
      }
    }
    return false;
  }

  static constexpr Kind parse(std::string_view name) {
    for (int i = 0; i < 5; ++i) {
      if (name == kNames[i]) {
        return static_cast<Kind>(i);
      }
    }
    throw "unknown reduction: expected sum, mean, min, max or product";
  }

  Kind kind_ = sum;
};

}  // namespace fabric
