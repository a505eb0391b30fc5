#include <fabric/config/types/scalars.h>

#include <algorithm>
#include <limits>

#include <fabric/config/tree/node.h>
#include <fabric/config/types/words.h>

namespace fabric::config::detail {
namespace {

// ---- truth values -------------------------------------------------------------------------------

std::string read_bool(const ScalarType& type, void* value, const Node& node) {
  if (std::string wrong = check_word(node, type.name); !wrong.empty()) {
    return wrong;
  }
  const std::optional<bool> read = bool_of(word_of(node));
  if (!read) {
    return misread(node, type.name,
                   node.text == "1"   ? "write true."
                   : node.text == "0" ? "write false."
                                      : "");
  }
  *static_cast<bool*>(value) = *read;
  return {};
}

Node write_bool(const ScalarType&, const void* value) {
  return Node::scalar(*static_cast<const bool*>(value) ? "true" : "false");
}

// ---- real numbers -------------------------------------------------------------------------------

template <class Real>
std::string read_real(const ScalarType& type, void* value, const Node& node) {
  if (std::string wrong = check_word(node, type.name); !wrong.empty()) {
    return wrong;
  }
  const std::string_view text = word_of(node);
  std::optional<Real> read;
  if constexpr (std::is_same_v<Real, float>) {
    read = float_of(text);
  } else {
    read = real_of(text);
  }
  if (read) {
    *static_cast<Real*>(value) = *read;
    return {};
  }
  if (is_out_of_range(text)) {
    return "out of range; " +
           misread(node, std::string(type.name) + " between " +
                             shortest(std::numeric_limits<Real>::lowest()) + " and " +
                             shortest(std::numeric_limits<Real>::max()));
  }
  std::string plain(text);
  std::erase(plain, '_');
  if (plain == text && plain.find(',') != std::string::npos) {
    plain[plain.find(',')] = '.';
  }
  return misread(node, type.name, real_of(plain) ? "write " + plain + "." : "");
}

template <class Real>
Node write_real(const ScalarType&, const void* value) {
  return Node::scalar(shortest(*static_cast<const Real*>(value)));
}

// ---- texts --------------------------------------------------------------------------------------

std::string read_text(const ScalarType& type, void* value, const Node& node) {
  std::string wrong = check_text(node, type.name);
  if (wrong.empty()) {
    *static_cast<std::string*>(value) = node.text;
  }
  return wrong;
}

Node write_text(const ScalarType&, const void* value) {
  return Node::scalar(*static_cast<const std::string*>(value), Node::Style::quoted);
}

}  // namespace

const Type& builtin(Of<bool>) {
  static const ScalarType type{{Type::Kind::scalar}, "true or false", read_bool, write_bool};
  return type;
}
const Type& builtin(Of<float>) {
  static const ScalarType type{
      {Type::Kind::scalar}, "number", read_real<float>, write_real<float>, true};
  return type;
}
const Type& builtin(Of<double>) {
  static const ScalarType type{
      {Type::Kind::scalar}, "number", read_real<double>, write_real<double>, true};
  return type;
}
const Type& builtin(Of<std::string>) {
  static const ScalarType type{{Type::Kind::scalar}, "text", read_text, write_text};
  return type;
}
}  // namespace fabric::config::detail
