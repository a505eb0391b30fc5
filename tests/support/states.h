// States that Python can load, for tests of its files.
#pragma once

#include <random>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include <fabric/checkpoint/state_value.h>

namespace support {

/// A tensor whose bytes count up, of any dtype.
inline at::Tensor counted(std::vector<std::int64_t> sizes, at::ScalarType dtype = at::kFloat) {
  at::Tensor tensor = at::empty(sizes, at::TensorOptions().dtype(dtype));
  auto* bytes = static_cast<unsigned char*>(tensor.mutable_data_ptr());
  for (std::size_t i = 0; i < tensor.nbytes(); ++i) {
    bytes[i] = dtype == at::kBool ? i % 2 : static_cast<unsigned char>(i * 7 + 1);
  }
  return tensor;
}

/// Every dtype that a dense tensor can have.
inline const std::vector<at::ScalarType>& dense_dtypes() {
  using at::ScalarType;
  static const std::vector<ScalarType> all = {
      ScalarType::Float,         ScalarType::Double,        ScalarType::Half,
      ScalarType::BFloat16,      ScalarType::Byte,          ScalarType::Char,
      ScalarType::Short,         ScalarType::Int,           ScalarType::Long,
      ScalarType::Bool,          ScalarType::ComplexFloat,  ScalarType::ComplexDouble,
      ScalarType::ComplexHalf,   ScalarType::UInt16,        ScalarType::UInt32,
      ScalarType::UInt64,        ScalarType::Float8_e5m2,   ScalarType::Float8_e4m3fn,
      ScalarType::Float8_e5m2fnuz, ScalarType::Float8_e4m3fnuz, ScalarType::Float8_e8m0fnu,
      ScalarType::Float4_e2m1fn_x2};
  return all;
}

/// Makes states at random; the same seed, the same states.
class RandomState {
 public:
  explicit RandomState(unsigned seed) : random_(seed) {}

  fabric::StateValue value(int depth = 4) {
    const int kind = number(0, depth > 0 ? 16 : 11);
    switch (kind) {
      case 0:
        return {};
      case 1:
        return number(0, 1) == 1;
      case 2:
        return std::int64_t{number(-300, 300)};
      case 3:
        return static_cast<std::int64_t>(random_() << number(0, 32));
      case 4:
        return std::uniform_real_distribution<double>(-1e9, 1e9)(random_);
      case 5:
        return std::complex<double>(number(-5, 5), 0.5);
      case 6:
        return text();
      case 7:
        return fabric::Bytes{bytes()};
      case 8:
        return fabric::BigInteger{std::string(static_cast<std::size_t>(number(9, 40)), '\x5a')};
      case 9:
        return dense_dtypes()[static_cast<std::size_t>(number(0, 21))];
      case 10:
        return number(0, 1) == 1 ? c10::Device(at::kCUDA, 1) : c10::Device(at::kCPU);
      case 11:
        return tensor();
      case 12:
      case 13:
        return list(depth);
      default:
        return dict(depth);
    }
  }

  /// A new one, or a view of one that was there before.
  at::Tensor tensor() {
    if (!tensors_.empty() && number(0, 2) == 0) {
      at::Tensor there = tensors_[static_cast<std::size_t>(number(0, int(tensors_.size()) - 1))];
      switch (number(0, 4)) {
        case 0:
          return there;
        case 1:
          return there.dim() > 0 ? there.narrow(0, 0, there.size(0) / 2) : there;
        case 2:
          return there.dim() > 1 ? there.transpose(0, 1) : there;
        case 3:
          return there.dim() > 0 ? there.select(0, number(0, int(there.size(0)) - 1)) : there;
        default:
          return there.unsqueeze(-1).expand(repeated(there.sizes(), 3));
      }
    }
    std::vector<std::int64_t> sizes;
    for (int i = number(0, 3); i > 0; --i) {
      sizes.push_back(number(1, 5));
    }
    tensors_.push_back(counted(sizes, dense_dtypes()[static_cast<std::size_t>(number(0, 20))]));
    return tensors_.back();
  }

 private:
  int number(int least, int most) {
    return std::uniform_int_distribution<int>(least, most)(random_);
  }
  static std::vector<std::int64_t> repeated(at::IntArrayRef sizes, std::int64_t count) {
    std::vector<std::int64_t> all = sizes.vec();
    all.push_back(count);
    return all;
  }
  std::string text() {
    static const std::vector<std::string> all = {"", "lr", "exp_avg", "größe", "層", "a\nb",
                                                 std::string("zero\0", 5)};
    return all[static_cast<std::size_t>(number(0, int(all.size()) - 1))] +
           std::to_string(number(0, 20));
  }
  std::string bytes() {
    std::string all;
    for (int i = number(0, 300); i > 0; --i) {
      all.push_back(static_cast<char>(number(0, 255)));
    }
    return all;
  }
  fabric::StateValue list(int depth) {
    using Kind = fabric::StateList::Kind;
    const Kind kind = number(0, 5) == 0   ? Kind::size
                      : number(0, 1) == 0 ? Kind::tuple
                                          : Kind::list;
    fabric::StateList list(kind);
    for (int i = number(0, 6); i > 0; --i) {
      list.push_back(kind == Kind::size ? fabric::StateValue(number(0, 9)) : value(depth - 1));
    }
    return list;
  }
  fabric::StateValue dict(int depth) {
    fabric::StateDict dict;
    dict.ordered = number(0, 1) == 1;
    for (int i = number(0, 8); i > 0; --i) {
      if (number(0, 3) == 0) {
        dict.set(number(-5, 100000), value(depth - 1));
      } else {
        dict.set(text(), value(depth - 1));
      }
    }
    return dict;
  }

  std::mt19937 random_;
  std::vector<at::Tensor> tensors_;
};

}  // namespace support
