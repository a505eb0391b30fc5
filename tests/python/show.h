// A state as one text, which show.py makes of Python's objects as well: so the two can be compared.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include <fabric/checkpoint/format/torch_dtypes.h>
#include <fabric/checkpoint/state_value.h>

namespace support {

inline std::string hex(const void* data, std::size_t count) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    const unsigned char byte = static_cast<const unsigned char*>(data)[i];
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

inline std::string hex(double value) {
  return hex(&value, sizeof(value));
}

inline std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) {
    all += (all.empty() ? "" : ", ") + text;
  }
  return all;
}

/// @param strides whether the strides of tensors are shown
std::string show(const fabric::StateValue& value, bool strides);

struct Show {
  bool strides;

  std::string operator()(std::monostate) const { return "None"; }
  std::string operator()(bool value) const { return value ? "True" : "False"; }
  std::string operator()(std::int64_t value) const { return std::to_string(value); }
  std::string operator()(double value) const { return "float " + hex(value); }
  std::string operator()(const std::complex<double>& value) const {
    return "complex " + hex(value.real()) + " " + hex(value.imag());
  }
  std::string operator()(const std::string& value) const { return "'" + value + "'"; }
  std::string operator()(const fabric::BigInteger& value) const {
    return "int " + hex(value.bytes.data(), value.bytes.size());
  }
  std::string operator()(const fabric::Bytes& value) const {
    return "bytes " + hex(value.data.data(), value.data.size());
  }
  std::string operator()(c10::ScalarType dtype) const {
    return "torch." + std::string(fabric::detail::find_torch_dtype(dtype)->name);
  }
  std::string operator()(c10::Device device) const { return "device " + device.str(); }
  std::string operator()(const fabric::StoredTensor& tensor) const {
    const at::Tensor values = tensor.clone().contiguous();
    const auto numbers = [](at::IntArrayRef list) {
      std::vector<std::string> texts;
      for (const std::int64_t number : list) {
        texts.push_back(std::to_string(number));
      }
      return "(" + joined(texts) + ")";
    };
    return "tensor " + (*this)(tensor.dtype()) + " " + numbers(tensor.sizes()) +
           (strides ? " " + numbers(tensor.strides()) : std::string()) +
           (tensor.requires_grad ? " grad " : " ") +
           hex(values.const_data_ptr(), values.nbytes());
  }
  std::string operator()(const fabric::StateList& list) const {
    constexpr const char* kNames[] = {"list", "tuple", "set", "frozenset", "Size"};
    using Kind = fabric::StateList::Kind;
    std::vector<std::string> texts;
    for (const fabric::StateValue& element : list) {
      texts.push_back(show(element, strides));
    }
    if (list.kind() == Kind::set || list.kind() == Kind::frozenset) {
      std::sort(texts.begin(), texts.end());
    }
    return std::string(kNames[static_cast<int>(list.kind())]) + "[" + joined(texts) + "]";
  }
  std::string operator()(const fabric::StateDict& dict) const {
    std::vector<std::string> texts;
    for (const auto& [key, value] : dict) {
      texts.push_back(show(key, strides) + ": " + show(value, strides));
    }
    return (dict.ordered ? "OrderedDict{" : "dict{") + joined(texts) + "}";
  }
};

inline std::string show(const fabric::StateValue& value, bool strides) {
  return std::visit(Show{strides}, value.variant());
}

}  // namespace support
