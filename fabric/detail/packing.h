// Values as bytes: numbers, strings, tensors, containers and aggregates, for broadcasts of objects.
// Both ends are the same program: the format is private and carries no versions.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <type_traits>
#include <vector>

#include <ATen/core/Tensor.h>

#include <accelerators/error.h>
#include <fabric/structure.h>

namespace fabric::detail {

class Packer {
 public:
  template <class T>
  void operator()(const T& value) {
    if constexpr (std::is_base_of_v<at::Tensor, T>) {
      tensor(value);
    } else if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
      raw(&value, sizeof(T));
    } else if constexpr (std::is_same_v<T, std::string>) {
      size(value.size());
      raw(value.data(), value.size());
    } else if constexpr (std::is_same_v<T, std::filesystem::path>) {
      (*this)(value.string());
    } else if constexpr (is_instance_of<T, std::optional>) {
      size(value.has_value());
      if (value) {
        (*this)(*value);
      }
    } else if constexpr (is_std_array<T>) {
      for (const auto& element : value) {
        (*this)(element);
      }
    } else if constexpr (is_sequence<T>) {
      size(value.size());
      for (const typename T::value_type& element : value) {  // vector<bool>: by value
        (*this)(element);
      }
    } else if constexpr (is_map<T>) {
      size(value.size());
      for (const auto& [key, element] : value) {
        (*this)(key);
        (*this)(element);
      }
    } else if constexpr (is_tuple<T>) {
      std::apply([this](const auto&... elements) { ((*this)(elements), ...); }, value);
    } else {
      static_assert(PlainAggregate<T>,
                    "fabric.broadcast takes tensors, numbers, strings, containers and plain "
                    "structs of those; this type is none of them.");
      boost::pfr::for_each_field(value, [this](const auto& field) { (*this)(field); });
    }
  }

  std::vector<char> take() { return std::move(bytes_); }

 private:
  void size(std::uint64_t value) { raw(&value, sizeof(value)); }
  void raw(const void* data, std::size_t count) {
    const auto* begin = static_cast<const char*>(data);
    bytes_.insert(bytes_.end(), begin, begin + count);
  }
  void tensor(const at::Tensor& value);

  std::vector<char> bytes_;
};

class Unpacker {
 public:
  explicit Unpacker(const std::vector<char>& bytes) : bytes_(bytes) {}

  template <class T>
  void operator()(T& value) {
    if constexpr (std::is_base_of_v<at::Tensor, T>) {
      value = tensor();
    } else if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
      raw(&value, sizeof(T));
    } else if constexpr (std::is_same_v<T, std::string>) {
      value.resize(size());
      raw(value.data(), value.size());
    } else if constexpr (std::is_same_v<T, std::filesystem::path>) {
      std::string text;
      (*this)(text);
      value = text;
    } else if constexpr (is_instance_of<T, std::optional>) {
      value.reset();
      if (size() != 0) {
        (*this)(value.emplace());
      }
    } else if constexpr (is_std_array<T>) {
      for (auto& element : value) {
        (*this)(element);
      }
    } else if constexpr (is_sequence<T>) {
      value.clear();
      for (std::uint64_t i = size(); i > 0; --i) {
        typename T::value_type element{};
        (*this)(element);
        value.push_back(std::move(element));
      }
    } else if constexpr (is_map<T>) {
      value.clear();
      for (std::uint64_t i = size(); i > 0; --i) {
        typename T::key_type key{};
        typename T::mapped_type element{};
        (*this)(key);
        (*this)(element);
        value.emplace(std::move(key), std::move(element));
      }
    } else if constexpr (is_tuple<T>) {
      std::apply([this](auto&... elements) { ((*this)(elements), ...); }, value);
    } else {
      boost::pfr::for_each_field(value, [this](auto& field) { (*this)(field); });
    }
  }

 private:
  std::uint64_t size() {
    std::uint64_t value = 0;
    raw(&value, sizeof(value));
    return value;
  }
  void raw(void* data, std::size_t count) {
    FABRIC_CHECK(
        Communication, position_ + count <= bytes_.size(), "[fabric.broadcast] the message ",
        "is shorter than the value that receives it. Hint: do all ranks run the same ", "program?");
    if (count > 0) {
      std::memcpy(data, bytes_.data() + position_, count);
    }
    position_ += count;
  }
  at::Tensor tensor();

  const std::vector<char>& bytes_;
  std::size_t position_ = 0;
};

template <class T>
std::vector<char> pack(const T& value) {
  Packer packer;
  packer(value);
  return packer.take();
}

template <class T>
void unpack(const std::vector<char>& bytes, T& value) {
  Unpacker unpacker(bytes);
  unpacker(value);
}

}  // namespace fabric::detail
