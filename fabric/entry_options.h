// What an inference entry may say of its calls.
#pragma once

#include <accelerators/named_choice.h>
#include <strategies/precision/precision_choice.h>

namespace fabric {

namespace detail {
struct EntryGradNames {
  static constexpr std::string_view what = "entry option grad";
  static constexpr std::string_view names[] = {"inherit", "off", "inference_mode"};
  static constexpr void check(bool known) {
    if (!known) {
      throw "entry option grad: expected \"inherit\", \"off\" or \"inference_mode\"";
    }
  }
};
struct EntryModeNames {
  static constexpr std::string_view what = "entry option mode";
  static constexpr std::string_view names[] = {"keep", "train", "eval"};
  static constexpr void check(bool known) {
    if (!known) {
      throw "entry option mode: expected \"keep\", \"train\" or \"eval\"";
    }
  }
};
}  // namespace detail

using EntryGrad = NamedChoice<detail::EntryGradNames>;
using EntryMode = NamedChoice<detail::EntryModeNames>;

/// The precision of an entry: "inherit" (the Fabric's own) or a precision by name. Parameters keep
/// the dtype they were set up in, so that "64-true" fits only a Fabric of that precision, and the
/// other way round.
class EntryPrecision {
 public:
  constexpr EntryPrecision() = default;
  template <std::size_t N>
  consteval EntryPrecision(const char (&text)[N]) {
    if (std::string_view(text, N - 1) != "inherit") {
      choice_ = PrecisionChoice(text);
      inherits_ = false;
    }
  }
  constexpr EntryPrecision(PrecisionChoice choice) : choice_(choice), inherits_(false) {}

  constexpr bool inherits() const { return inherits_; }
  constexpr PrecisionChoice choice() const { return choice_; }
  friend constexpr bool operator==(EntryPrecision, EntryPrecision) = default;

 private:
  PrecisionChoice choice_{};
  bool inherits_ = true;
};

/// Options of a mark or a registration, as keyword arguments:
///
///     FABRIC_INFERENCE_ENTRY(generate, .grad = "inference_mode", .mode = "eval")
///     model.register_forward_method(&NetImpl::encode, {.grad = "off"});
///
/// They hold for an outermost call; an entry called inside another routed call of the same model is
/// a plain call. Everything is put back when the call ends, by an exception too.
struct EntryOptions {
  /// "inherit" the caller's grad mode, "off" (as torch::NoGradGuard), or "inference_mode" (as
  /// c10::InferenceMode: the results cannot take part in autograd later).
  EntryGrad grad{};
  /// "keep" the model's mode, or run in "train" or "eval". Each submodule gets its own mode back.
  /// The mode belongs to the module: another thread that uses it meanwhile sees the change.
  EntryMode mode{};
  /// The precision of the call.
  EntryPrecision precision{};
  /// false: the call has no part in synchronisation. No buffers are sent before it, and the
  /// gradients of a backward stay on this rank (as under no_backward_sync) if all routed calls with
  /// gradients since the last backward were of such entries. They add up until the next backward
  /// that synchronises.
  bool sync = true;

  friend constexpr bool operator==(const EntryOptions&, const EntryOptions&) = default;
};

}  // namespace fabric
