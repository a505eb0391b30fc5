#include <fabric/config/types/words.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include <accelerators/text.h>

namespace fabric::config::detail {
namespace {

// "true", "True" and "TRUE", as YAML has it.
bool is_word(std::string_view text, std::string_view word) {
  const std::string lower = fabric::detail::to_lower(text);
  if (lower != word) {
    return false;
  }
  std::string capital(word), upper(word);
  for (char& c : upper) {
    c = static_cast<char>(c - 'a' + 'A');
  }
  capital[0] = upper[0];
  return text == word || text == capital || text == upper;
}

std::string_view without_sign(std::string_view text) {
  return text.starts_with('-') || text.starts_with('+') ? text.substr(1) : text;
}

template <class Real>
std::optional<Real> real(std::string_view text) {
  const std::string_view unsigned_text = without_sign(text);
  const bool negative = text.starts_with('-');
  const std::string lower = fabric::detail::to_lower(unsigned_text);
  if (lower == ".inf" || lower == "inf") {
    const Real infinity = std::numeric_limits<Real>::infinity();
    return negative ? -infinity : infinity;
  }
  if (lower == ".nan" || lower == "nan") {
    return std::numeric_limits<Real>::quiet_NaN();
  }
  if (lower.empty() || lower.find_first_not_of("0123456789.e+-") != std::string::npos ||
      lower[0] == '-' || lower[0] == '+') {
    return std::nullopt;
  }
  Real value = 0;
  const char* end = unsigned_text.data() + unsigned_text.size();
  const auto [stop, error] = std::from_chars(unsigned_text.data(), end, value);
  if (error != std::errc() || stop != end) {
    return std::nullopt;
  }
  return negative ? -value : value;
}

template <class Real>
std::string shortest_of(Real value) {
  if (value != value) {
    return ".nan";
  }
  if (value == std::numeric_limits<Real>::infinity() ||
      value == -std::numeric_limits<Real>::infinity()) {
    return value > 0 ? ".inf" : "-.inf";
  }
  std::array<char, 64> digits{};
  const auto end = std::to_chars(digits.begin(), digits.end(), value).ptr;
  std::string text(digits.begin(), end);
  if (text.find('.') == std::string::npos) {
    // Readers of YAML 1.1 take 1e-05 for a text.
    text.insert(std::min(text.find('e'), text.size()), ".0");
  }
  return text;
}

}  // namespace

std::optional<bool> bool_of(std::string_view text) {
  for (const std::string_view yes : {"true", "yes", "on"}) {
    if (is_word(text, yes)) {
      return true;
    }
  }
  for (const std::string_view no : {"false", "no", "off"}) {
    if (is_word(text, no)) {
      return false;
    }
  }
  return std::nullopt;
}

std::optional<Integer> integer_of(std::string_view text) {
  Integer integer{.negative = text.starts_with('-')};
  std::string_view digits = without_sign(text);
  int base = 10;
  if (digits.starts_with("0x") || digits.starts_with("0o")) {
    base = digits[1] == 'x' ? 16 : 8;
    digits.remove_prefix(2);
  }
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, integer.magnitude, base);
  if (digits.empty() || error != std::errc() || stop != end) {
    return std::nullopt;
  }
  return integer;
}

std::optional<double> real_of(std::string_view text) {
  return real<double>(text);
}
std::optional<float> float_of(std::string_view text) {
  return real<float>(text);
}

bool is_out_of_range(std::string_view text) {
  const std::string_view digits = without_sign(text);
  double value = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, value);
  return stop == end && !digits.empty() && digits[0] != '-' &&
         (error == std::errc::result_out_of_range || error == std::errc());
}

std::string shortest(double value) {
  return shortest_of(value);
}
std::string shortest(float value) {
  return shortest_of(value);
}

std::string misread(const Node& node, std::string_view expected, std::string_view hint) {
  std::string text = "got " + describe(node) + "; expected " + std::string(expected);
  if (!hint.empty()) {
    text += ". Hint: " + std::string(hint);
  }
  return text;
}

std::string check_word(const Node& node, std::string_view expected) {
  if (node.is_null()) {
    return misread(node, expected, "leave the key out for the default.");
  }
  if (!node.is_scalar()) {
    return misread(node, expected);
  }
  return node.style == Node::Style::quoted ? misread(node, expected, "without quotes.") : "";
}

std::string_view word_of(const Node& node) {
  return fabric::detail::trim(node.text);
}

std::string check_scalar(const Node& node, std::string_view expected) {
  if (node.is_scalar()) {
    return {};
  }
  return misread(node, expected, node.is_null() ? "leave the key out for the default." : "");
}

std::string check_text(const Node& node, std::string_view expected) {
  if (node.is_null()) {
    return misread(node, expected, "write \"\" for the empty text, \"null\" for the word.");
  }
  return node.is_scalar() ? "" : misread(node, expected, "quote it to have it as a text.");
}

}  // namespace fabric::config::detail
