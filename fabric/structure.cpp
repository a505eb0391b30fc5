#include <fabric/structure.h>

namespace fabric::detail {

c10::IValue map_ivalue(const c10::IValue& value,
                       const std::function<at::Tensor(const at::Tensor&)>& map) {
  if (value.isTensor()) {
    return value.toTensor().defined() ? c10::IValue(map(value.toTensor())) : value;
  }
  if (value.isTuple()) {
    std::vector<c10::IValue> elements;
    for (const c10::IValue& element : value.toTupleRef().elements()) {
      elements.push_back(map_ivalue(element, map));
    }
    const auto type = value.type()->cast<c10::TupleType>();
    return type && type->schema()
               ? c10::ivalue::Tuple::createNamed(std::move(elements), type)  // keeps its names
               : c10::ivalue::Tuple::create(std::move(elements));
  }
  if (value.isList()) {
    const c10::List<c10::IValue> list = value.toList();
    c10::impl::GenericList mapped(list.elementType());
    for (const c10::IValue& element : list.vec()) {
      mapped.push_back(map_ivalue(element, map));
    }
    return mapped;
  }
  if (value.isGenericDict()) {
    const c10::Dict<c10::IValue, c10::IValue> dict = value.toGenericDict();
    c10::impl::GenericDict mapped(dict.keyType(), dict.valueType());
    for (const auto& item : dict) {
      mapped.insert(item.key(), map_ivalue(item.value(), map));
    }
    return mapped;
  }
  return value;
}

}  // namespace fabric::detail
