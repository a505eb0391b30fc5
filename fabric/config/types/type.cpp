#include <fabric/config/types/type.h>

#include <fabric/config/classes/table.h>

namespace fabric::config::detail {

const Field* StructType::find(std::string_view option) const {
  for (const Field& field : fields) {
    if (field.option() == option) {
      return is_option(field.type()) ? &field : nullptr;
    }
  }
  return nullptr;
}

std::vector<std::string> StructType::names() const {
  std::vector<std::string> all;
  for (const Field& field : fields) {
    if (is_option(field.type())) {
      all.emplace_back(field.option());
    }
  }
  return all;
}

namespace {

// "numbers"; what is longer than a word stays.
std::string plural(const Type& type) {
  const std::string name = name_of(type);
  return name.find(' ') == std::string::npos ? name + "s" : name;
}

}  // namespace

const Type& bare(const Type& type) {
  return type.kind == Type::Kind::optional ? bare(optional(type).value()) : type;
}

std::string name_of(const Type& type) {
  switch (type.kind) {
    case Type::Kind::scalar:
      return scalar(type).name;
    case Type::Kind::optional: {
      const OptionalType& here = optional(type);
      return name_of(here.value()) + (here.required ? "" : " or null");
    }
    case Type::Kind::list: {
      const ListType& here = list(type);
      return "list of " + (here.fixed > 0 ? std::to_string(here.fixed) + " " : "") +
             plural(here.element());
    }
    case Type::Kind::map:
      return "map of " + plural(map(type).value());
    case Type::Kind::structure:
      return "section";
    case Type::Kind::choice:
      return choice(type).classes().list();
    case Type::Kind::provided:
      return "what the program provides";
    case Type::Kind::resolved:
      return "what a parser found";
    case Type::Kind::variant:
      break;
  }
  std::string name;
  const auto& alternatives = variant(type).alternatives;
  for (std::size_t i = 0; i < alternatives.size(); ++i) {
    name += (i == 0                         ? ""
             : i + 1 == alternatives.size() ? " or "
                                            : ", ") +
            name_of(alternatives[i]());
  }
  return name;
}

}  // namespace fabric::config::detail
