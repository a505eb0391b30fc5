// The `accelerator` option: a kind of device by name.
#pragma once

#include <string>
#include <string_view>

#include <accelerators/text.h>

namespace fabric {

/// "auto" (CUDA where a device is visible, else the CPU), "cpu", "cuda", "gpu" (whatever GPUs this
/// build knows: CUDA), or the name of a registered accelerator.
///
/// A literal is checked at compile time and must be one of the first four: a name of your own is a
/// std::string, `.accelerator = std::string("npu")`, and is looked up when the options are used.
class AcceleratorChoice {
 public:
  constexpr AcceleratorChoice() = default;

  template <std::size_t N>
  consteval AcceleratorChoice(const char (&text)[N])
      : name_(literal(std::string_view(text, N - 1))) {}

  template <class Text>
    requires detail::RuntimeText<Text>
  AcceleratorChoice(const Text& text) : AcceleratorChoice(from_text(text)) {}

  /// Upper and lower case are the same. Throws MisconfigurationError for an empty text.
  /// @param source where the text comes from ("FABRIC_ACCELERATOR"), for error texts
  static AcceleratorChoice from_text(std::string_view text, std::string_view source = {});
  std::string to_text() const { return std::string(name_); }
  /// What it may be, for help and errors.
  static std::string expected() {
    return "auto, cpu, cuda, gpu or the name of a registered accelerator";
  }

  constexpr std::string_view name() const { return name_; }
  constexpr bool is_auto() const { return name_ == kNames[0]; }
  friend constexpr bool operator==(const AcceleratorChoice& a, const AcceleratorChoice& b) {
    return a.name_ == b.name_;
  }

 private:
  static constexpr std::string_view kNames[] = {"auto", "cpu", "cuda", "gpu"};

  static consteval std::string_view literal(std::string_view text) {
    for (const std::string_view name : kNames) {
      if (text == name) {
        return name;
      }
    }
    throw "accelerator: expected \"auto\", \"cpu\", \"cuda\" or \"gpu\"; others as std::string";
  }

  std::string_view name_ = kNames[0];  // of a literal, or interned: valid for ever
};

}  // namespace fabric
