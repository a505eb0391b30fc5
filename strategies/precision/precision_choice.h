// The `precision` option: in which number formats a model computes.
#pragma once

#include <string>
#include <string_view>

#include <accelerators/text.h>

namespace fabric {

/// A precision by Python Fabric's names.
///
/// | name | parameters | computation | |
/// |---|---|---|---|
/// | `"32-true"` (default) | fp32 | fp32 | also `"32"` |
/// | `"64-true"` | fp64 | fp64 | also `"64"` |
/// | `"bf16-mixed"` | fp32 | autocast to bf16 | also `"bf16"` |
/// | `"16-mixed"` | fp32 | autocast to fp16, loss scaling | also `"16"` |
/// | `"bf16-true"` | bf16 | bf16 | |
/// | `"16-true"` | fp16 | fp16 | |
///
/// A literal is checked at compile time; a text read at run time throws MisconfigurationError.
/// Numbers do not convert: write "32-true", not 32.
class PrecisionChoice {
 public:
  enum Kind { fp32_true, fp64_true, bf16_mixed, fp16_mixed, fp16_true, bf16_true };

  constexpr PrecisionChoice() = default;

  template <std::size_t N>
  consteval PrecisionChoice(const char (&text)[N]) {
    const int kind = find(std::string_view(text, N - 1));
    if (kind == kUnknown) {
      throw "precision: expected 32-true, 64-true, bf16-mixed, 16-mixed, bf16-true or 16-true";
    }
    kind_ = static_cast<Kind>(kind);
  }

  template <class Text>
    requires detail::RuntimeText<Text>
  PrecisionChoice(const Text& text) : PrecisionChoice(from_text(text)) {}

  /// @param source where the text comes from ("FABRIC_PRECISION"), for error texts
  static PrecisionChoice from_text(std::string_view text, std::string_view source = {});
  std::string to_text() const { return std::string(name()); }
  /// What it may be, for help and errors.
  static std::string expected() {
    return "32-true, 64-true, bf16-mixed, 16-mixed, bf16-true or 16-true";
  }

  constexpr Kind kind() const { return kind_; }
  /// The canonical name: "bf16-mixed" for "bf16" too.
  constexpr std::string_view name() const { return kNames[kind_]; }
  friend constexpr bool operator==(PrecisionChoice a, PrecisionChoice b) = default;

 private:
  static constexpr int kUnknown = -1;
  static constexpr std::string_view kNames[] = {"32-true",  "64-true", "bf16-mixed",
                                                "16-mixed", "16-true", "bf16-true"};
  static constexpr std::string_view kShortNames[] = {"32", "64", "bf16", "16", "", ""};

  static constexpr int find(std::string_view text) {
    for (int i = 0; i < 6; ++i) {
      if (text == kNames[i] || (!text.empty() && text == kShortNames[i])) {
        return i;
      }
    }
    return kUnknown;
  }

  Kind kind_ = fp32_true;
};

}  // namespace fabric
