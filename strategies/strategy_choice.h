// The `strategy` option: how a model runs over processes, by name or as a struct of options.
#pragma once

#include <any>
#include <concepts>
#include <string>
#include <string_view>

#include <accelerators/text.h>
#include <strategies/ddp_options.h>
#include <strategies/fsdp_options.h>

namespace fabric {

/// "auto" (ddp for more than one process, else single_device), "single_device", "ddp", "fsdp", or
/// one of the last two with options: `DDPOptions{.bucket_mb = 50}`, `FSDPOptions{.units =
/// {"Block"}}`.
///
/// A literal is checked at compile time and must be one of the four names; the name of a strategy
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
  template <class Options>
    requires std::same_as<Options, FSDPOptions>
  StrategyChoice(const Options& options) : name_(kNames[3]), fsdp_(options) {
    validate({});
  }

  /// Reads a name, upper and lower case being the same, with the options of ddp or fsdp in
  /// parentheses where they differ from the defaults: "ddp(bucket_mb=50, average=false)",
  /// "fsdp(units=Block+head)". Throws MisconfigurationError for an empty name or options that are
  /// unknown or cannot work.
  /// @param source where the text comes from ("FABRIC_STRATEGY"), for error texts
  static StrategyChoice from_text(std::string_view text, std::string_view source = {});
  /// A text that from_text() reads as the same value.
  std::string to_text() const;
  /// What it may be, for help and errors.
  static std::string expected() {
    return "auto, single_device, ddp, fsdp or the name of a registered strategy";
  }

  constexpr std::string_view name() const { return name_; }
  constexpr bool is_auto() const { return name_ == kNames[0]; }
  /// The options of "ddp"; the defaults for the other strategies.
  constexpr const DDPOptions& ddp() const { return ddp_; }
  /// The options of "fsdp"; the defaults for the other strategies.
  constexpr const FSDPOptions& fsdp() const { return fsdp_; }
  /// The options of the named strategy, for StrategyContext; empty for one that has none here.
  std::any options() const;
  friend constexpr bool operator==(const StrategyChoice& a, const StrategyChoice& b) {
    return a.name_ == b.name_ && a.ddp_ == b.ddp_ && a.fsdp_ == b.fsdp_;
  }

 private:
  static constexpr std::string_view kNames[] = {"auto", "single_device", "ddp", "fsdp"};

  static consteval std::string_view literal(std::string_view text) {
    for (const std::string_view name : kNames) {
      if (text == name) {
        return name;
      }
    }
    throw "strategy: expected \"auto\", \"single_device\", \"ddp\", \"fsdp\", DDPOptions{...} or "
          "FSDPOptions{...}; others as std::string";
  }

  void set_option(std::string_view assignment, std::string_view source);
  void validate(std::string_view source) const;

  std::string_view name_ = kNames[0];  // of a literal, or interned: valid for ever
  DDPOptions ddp_;
  FSDPOptions fsdp_;
};

}  // namespace fabric
