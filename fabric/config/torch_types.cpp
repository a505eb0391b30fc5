// The tables of LibTorch's types: the only part of the configuration that includes its headers.
#include <exception>
#include <string>
#include <vector>

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <accelerators/text.h>
#include <fabric/checkpoint/format/torch_dtypes.h>
#include <fabric/config/nearest_name.h>
#include <fabric/config/tree/node.h>
#include <fabric/config/types/scalars.h>
#include <fabric/config/types/words.h>

namespace fabric::config::detail {
namespace {

// C++'s and Python's short names.
struct ShortName {
  const char* text;
  c10::ScalarType dtype;
};
constexpr ShortName kShortNames[] = {
    {"float", c10::kFloat}, {"double", c10::kDouble}, {"half", c10::kHalf},    {"int", c10::kInt},
    {"long", c10::kLong},   {"short", c10::kShort},   {"bf16", c10::kBFloat16}};

std::string read_dtype(const ScalarType& type, void* value, const Node& node) {
  if (std::string wrong = check_scalar(node, type.name); !wrong.empty()) {
    return wrong;
  }
  std::string_view name = word_of(node);
  if (name.starts_with("torch.")) {
    name.remove_prefix(6);
  }
  auto& dtype = *static_cast<c10::ScalarType*>(value);
  if (const auto* found = fabric::detail::find_torch_dtype(name)) {
    dtype = found->dtype;
    return {};
  }
  for (const ShortName& known : kShortNames) {
    if (name == known.text) {
      dtype = known.dtype;
      return {};
    }
  }
  return misread(node, "a dtype such as float32, bfloat16 or int64") +
         did_you_mean(nearest_name(name, {"float32", "float64", "float16", "bfloat16", "int8",
                                          "int16", "int32", "int64", "uint8", "bool"}));
}

Node write_dtype(const ScalarType&, const void* value) {
  const auto dtype = *static_cast<const c10::ScalarType*>(value);
  const auto* found = fabric::detail::find_torch_dtype(dtype);
  return Node::scalar(found != nullptr ? std::string(found->name) : c10::toString(dtype),
                      Node::Style::quoted);
}

std::string read_device(const ScalarType& type, void* value, const Node& node) {
  if (std::string wrong = check_scalar(node, type.name); !wrong.empty()) {
    return wrong;
  }
  try {
    *static_cast<c10::Device*>(value) = c10::Device(std::string(word_of(node)));
  } catch (const std::exception&) {  // its text has a stack of calls
    return misread(node, "a device such as cpu, cuda or cuda:1");
  }
  return {};
}

Node write_device(const ScalarType&, const void* value) {
  return Node::scalar(static_cast<const c10::Device*>(value)->str(), Node::Style::quoted);
}

}  // namespace

const Type& builtin(Of<c10::ScalarType>) {
  static const ScalarType type{{Type::Kind::scalar}, "dtype", read_dtype, write_dtype};
  return type;
}

const Type& builtin(Of<c10::Device>) {
  static const ScalarType type{{Type::Kind::scalar}, "device", read_device, write_device};
  return type;
}

}  // namespace fabric::config::detail
