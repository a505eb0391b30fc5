// What a text is as a truth value or a number. text_rules.md has the rules; a test reads them
// there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <fabric/config/tree/node.h>

namespace fabric::config::detail {

struct Integer {
  bool negative = false;
  std::uint64_t magnitude = 0;
};

std::optional<bool> bool_of(std::string_view text);
/// Decimal, 0x or 0o. Nothing for other texts and for more than 64 bits.
std::optional<Integer> integer_of(std::string_view text);
/// Decimal, with a point or an exponent or not; .inf and .nan. Nothing for other texts, and for
/// what no double can hold.
std::optional<double> real_of(std::string_view text);
std::optional<float> float_of(std::string_view text);

/// Whether a text looks like a number that is too large or too small to be held.
bool is_out_of_range(std::string_view text);

/// The shortest decimal that reads back as the same number, with a point, so that it stays a real
/// one
/// ("0.001", "1.0e-05").
std::string shortest(double value);
std::string shortest(float value);

/// "got '3.5'; expected int", with a hint where there is one.
std::string misread(const Node& node, std::string_view expected, std::string_view hint = {});

/// What is wrong with a node that has to be a number or a truth value, before its text is looked
/// at.
std::string check_word(const Node& node, std::string_view expected);
/// The text of such a node, without spaces around it.
std::string_view word_of(const Node& node);
/// What is wrong with a node that has to be one word or another, in quotes or not.
std::string check_scalar(const Node& node, std::string_view expected);
/// What is wrong with a node that has to be a text.
std::string check_text(const Node& node, std::string_view expected);

}  // namespace fabric::config::detail
