#include <fabric/config/types/texts.h>

#include <algorithm>
#include <exception>
#include <utility>

#include <accelerators/text.h>
#include <fabric/config/tree/node.h>
#include <fabric/config/types/words.h>

namespace fabric::config::detail {
namespace {

bool is_upper(char c) {
  return c >= 'A' && c <= 'Z';
}

// "… [with T = fabric::PrecisionChoice; …]" (GCC) or "… [T = fabric::PrecisionChoice]":
// "precision".
std::string name_of_spelled(std::string_view spelled) {
  std::string_view type = spelled.substr(std::min(spelled.find("T = ") + 4, spelled.size()));
  type = type.substr(0, type.find_first_of(";]<"));
  type = type.substr(type.rfind(':') + 1);
  for (const std::string_view ending : {"Choice", "Options"}) {
    if (type.size() > ending.size() && type.ends_with(ending)) {
      type.remove_suffix(ending.size());
    }
  }
  std::string name;
  for (const char c : type) {
    if (is_upper(c) && !name.empty() && !is_upper(name.back()) && name.back() != ' ') {
      name += ' ';
    }
    name += c;
  }
  return fabric::detail::to_lower(name);
}

// A list of a file as the text that stands for it: "0, 1", and "2," for one item.
std::string joined(const Node& list) {
  std::string text;
  for (const Node& item : list.items) {
    if (!item.is_scalar()) {
      return {};
    }
    text += (text.empty() ? "" : ", ") + item.text;
  }
  return list.items.size() == 1 ? text + "," : text;
}

// What was thrown, without the name of the option that its thrower supposes.
std::string what_is_wrong(std::string text) {
  if (text.starts_with("[fabric.")) {
    text.erase(0, text.find("] ") == std::string::npos ? 0 : text.find("] ") + 2);
  }
  return text;
}

std::string read_text_type(const ScalarType& scalar_type, void* value, const Node& node) {
  const auto& type = static_cast<const TextType&>(scalar_type);
  const std::string list = node.is_list() ? joined(node) : "";
  if (list.empty()) {
    if (std::string wrong = check_scalar(node, type.name); !wrong.empty()) {
      return wrong;
    }
  }
  try {
    type.parse(value, list.empty() ? std::string_view(node.text) : list);
  } catch (const std::exception& error) {
    const std::string text = what_is_wrong(error.what());
    return text.find("got ") != std::string::npos ? text : misread(node, type.name) + ": " + text;
  }
  return {};
}

Node write_text_type(const ScalarType& type, const void* value) {
  std::string text = static_cast<const TextType&>(type).format(value);
  const bool count = integer_of(text).has_value();  // `devices: 2` needs no quotes
  return Node::scalar(std::move(text), count ? Node::Style::plain : Node::Style::quoted);
}

}  // namespace

TextType::TextType(const std::string& called, std::string_view spelled,
                   void (*parse)(void* value, std::string_view text),
                   std::string (*format)(const void* value))
    : ScalarType{{Kind::scalar},
                 fabric::detail::intern(called.empty() ? name_of_spelled(spelled) : called).data(),
                 read_text_type,
                 write_text_type},
      parse(parse),
      format(format) {}

}  // namespace fabric::config::detail
