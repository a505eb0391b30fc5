// The `strategy` option: how a model runs over processes, by name or as a struct of options.
#pragma once

#include <concepts>
#include <string>
#include <string_view>

#include <accelerators/text.h>
#include <strategies/ddp_options.h>

namespace fabric {

/// "auto" (ddp for more than one process, else single_device), "single_device", "ddp", or
/// `DDPOptions{.bucket_mb = 50}`, which is "ddp" with these options.
///
/// A literal is checked at compile time and must be one of the three names; the name of a strategy
/// of your own is a std::string and is looked up when the options are used.
class StrategyChoice {
 public:
  constexpr StrategyChoice() = default;

  template <std::size_t N>
  consteval StrategyChoice(const char (&text)[N]) : name_(literal(std::string_view(text, N - 1))) {}

  template <class Text>
    requires detail::RuntimeText<Text>
  StrategyChoice(const Text& text) : StrategyChoice(from_text(text)) {}

  /// Throws MisconfigurationError for options that cannot work.
  template <class Options>
    requires std::same_as<Options, DDPOptions>
  StrategyChoice(const Options& options) : name_(kNames[2]), ddp_(options) {
    validate({});
  }

  /// Reads a name, upper and lower case being the same, with the options of ddp in parentheses
  /// where they differ from the defaults: "ddp(bucket_mb=50, average=false)". Throws
  /// MisconfigurationError for an empty name or options that are unknown or cannot work.
  /// @param source where the text comes from ("FABRIC_STRATEGY"), for error texts
  static StrategyChoice from_text(std::string_view text, std::string_view source = {});
  /// A text that from_text() reads as the same value.
  std::string to_text() const;

  constexpr std::string_view name() const { return name_; }
  constexpr bool is_auto() const { return name_ == kNames[0]; }
  /// The options of "ddp"; the defaults for the other strategies.
  constexpr const DDPOptions& ddp() const { return ddp_; }
  friend constexpr bool operator==(const StrategyChoice& a, const StrategyChoice& b) {
    return a.name_ == b.name_ && a.ddp_ == b.ddp_;
  }

 private:
  static constexpr std::string_view kNames[] = {"auto", "single_device", "ddp"};

  static consteval std::string_view literal(std::string_view text) {
    for (const std::string_view name : kNames) {
      if (text == name) {
        return name;
      }
    }
    throw "strategy: expected \"auto\", \"single_device\", \"ddp\" or DDPOptions{...}; "
          "others as std::string";
  }

  void set_option(std::string_view assignment, std::string_view source);
  void validate(std::string_view source) const;

  std::string_view name_ = kNames[0];  // of a literal, or interned: valid for ever
  DDPOptions ddp_;
};

}  // namespace fabric
