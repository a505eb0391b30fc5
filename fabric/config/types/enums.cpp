#include <fabric/config/types/enums.h>

#include <algorithm>
#include <string_view>

#include <accelerators/error.h>
#include <accelerators/text.h>
#include <fabric/config/nearest_name.h>
#include <fabric/config/tree/node.h>
#include <fabric/config/types/words.h>

namespace fabric::config::detail {
namespace {

bool is_name_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

// The items of "… [with Enum = E; Enum ...values = {E::a, (E)1}]" (GCC) or "… values = <E::a,
// (E)1>]".
std::vector<std::string_view> items_of(std::string_view spelled) {
  std::string_view list = spelled.substr(spelled.rfind("values = ") + 10);
  list = list.substr(0, list.find_last_of("}>"));
  std::vector<std::string_view> items;
  int depth = 0;
  std::size_t begin = 0;
  for (std::size_t i = 0; i <= list.size(); ++i) {
    if (i == list.size() || (list[i] == ',' && depth == 0)) {
      items.push_back(fabric::detail::trim(list.substr(begin, i - begin)));
      begin = i + 1;
    } else if (std::string_view("(<{").find(list[i]) != std::string_view::npos) {
      ++depth;
    } else if (std::string_view(")>}").find(list[i]) != std::string_view::npos) {
      --depth;
    }
  }
  return items;
}

// The name in "ns::E::name"; nothing for "(ns::E)7".
std::string_view name_of_item(std::string_view item) {
  std::size_t begin = item.size();
  while (begin > 0 && is_name_letter(item[begin - 1])) {
    --begin;
  }
  const bool number = begin > 0 && item[begin - 1] != ':';
  return number ? std::string_view() : item.substr(begin);
}

std::string read_enum(const ScalarType& scalar_type, void* value, const Node& node) {
  const auto& type = static_cast<const EnumType&>(scalar_type);
  if (std::string wrong = check_scalar(node, type.name); !wrong.empty()) {
    return wrong;
  }
  std::vector<std::string> names;
  for (const auto& [name, number] : type.names) {
    if (name == node.text) {
      type.store(value, number);
      return {};
    }
    names.push_back(name);
  }
  std::string nearest = nearest_name(node.text, names);
  for (const std::string& name : names) {
    if (fabric::detail::to_lower(name) == fabric::detail::to_lower(node.text)) {
      nearest = name;
    }
  }
  return misread(node, type.name) + did_you_mean(nearest);
}

Node write_enum(const ScalarType& scalar_type, const void* value) {
  const auto& type = static_cast<const EnumType&>(scalar_type);
  const std::int64_t number = type.load(value);
  const auto found = std::find_if(type.names.begin(), type.names.end(),
                                  [number](const auto& name) { return name.second == number; });
  FABRIC_CHECK(Misconfiguration, found != type.names.end(),
               "[fabric.config] a value of an enumeration has no name; got ", number, "; expected ",
               type.name, ", with numbers from ", kFirstEnumValue, " to ",
               kFirstEnumValue + kEnumValues - 1);
  return Node::scalar(found->first, Node::Style::quoted);
}

}  // namespace

EnumType::EnumType(const char* spelled, std::int64_t (*load)(const void*),
                   void (*store)(void*, std::int64_t))
    : ScalarType{{Kind::scalar}, nullptr, read_enum, write_enum}, load(load), store(store) {
  const std::vector<std::string_view> items = items_of(spelled);
  std::vector<std::string> all;
  for (std::size_t i = 0; i < items.size(); ++i) {
    std::string_view item = name_of_item(items[i]);
    if (item.ends_with('_')) {
      item.remove_suffix(1);  // C++ has the word for itself
    }
    if (!item.empty()) {
      all.emplace_back(item);
      names.emplace_back(all.back(), static_cast<std::int64_t>(i) + kFirstEnumValue);
    }
  }
  name = fabric::detail::intern(fabric::detail::list_or(all)).data();
}

}  // namespace fabric::config::detail
