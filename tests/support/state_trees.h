// States for tests of checkpoint formats: random ones, and a comparison that says where two differ.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <variant>
#include <vector>

#include <stdlib.h>

#include <ATen/ATen.h>

#include <accelerators/error.h>
#include <fabric/checkpoint/state_value.h>

/// A folder that is there while the object lives.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "fabric-test-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

/// Where two states differ, as a path of keys; empty where they are equal in kinds, order and bits.
/// Strides are not looked at. `first` counts: a NaN is equal to any.
inline std::string difference(const fabric::StateValue& first, const fabric::StateValue& second,
                              const std::string& path = "state") {
  using namespace fabric;
  const std::string here = path + ": " + first.description() + " is not " + second.description();
  if (first.variant().index() != second.variant().index()) {
    return here;
  }
  const auto same_real = [](double a, double b) {
    return std::isnan(a) ? std::isnan(b)
                         : std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
  };
  if (first.is_tensor()) {
    const StoredTensor& a = first.stored();
    const StoredTensor& b = second.stored();
    if (a.dtype() != b.dtype() || a.sizes() != b.sizes() || a.requires_grad != b.requires_grad) {
      return here;
    }
    const at::Tensor elements = a.clone().contiguous(), others = b.clone().contiguous();
    const auto count = static_cast<std::size_t>(a.nbytes());
    const bool same =
        count == 0 || std::memcmp(elements.const_data_ptr(), others.const_data_ptr(), count) == 0;
    return same ? "" : path + ": other elements";
  }
  if (first.is_list()) {
    if (first.list().kind() != second.list().kind() ||
        first.list().size() != second.list().size()) {
      return here;
    }
    for (std::size_t i = 0; i < first.list().size(); ++i) {
      const std::string found =
          difference(first.list()[i], second.list()[i], path + "[" + std::to_string(i) + "]");
      if (!found.empty()) {
        return found;
      }
    }
    return "";
  }
  if (first.is_dict()) {
    const StateDict& a = first.dict();
    const StateDict& b = second.dict();
    if (a.size() != b.size() || a.ordered != b.ordered) {
      return here;
    }
    for (std::size_t i = 0; i < a.size(); ++i) {
      const auto& [key, value] = a.begin()[i];
      const auto& [other_key, other_value] = b.begin()[i];
      std::string found = difference(key, other_key, path + " key " + std::to_string(i));
      if (found.empty()) {
        found = difference(value, other_value, path + "[" + key.description() + "]");
      }
      if (!found.empty()) {
        return found;
      }
    }
    return "";
  }
  if (const auto* real = std::get_if<double>(&first.variant())) {
    return same_real(*real, std::get<double>(second.variant())) ? "" : here;
  }
  if (const auto* pair = std::get_if<std::complex<double>>(&first.variant())) {
    const auto& other = std::get<std::complex<double>>(second.variant());
    return same_real(pair->real(), other.real()) && same_real(pair->imag(), other.imag()) ? ""
                                                                                          : here;
  }
  const bool same = std::visit(
      [&](const auto& value) {
        using T = std::decay_t<decltype(value)>;
        if constexpr (requires { value == value; }) {
          return value == std::get<T>(second.variant());
        } else {
          return false;  // compared above
        }
      },
      first.variant());
  return same ? "" : here;
}

/// Makes states at random; the same seed, the same states.
class RandomStates {
 public:
  explicit RandomStates(std::uint64_t seed) : random_(seed) {}

  fabric::StateValue operator()(int depth = 4) { return value(depth); }

  int below(int n) { return static_cast<int>(random_() % static_cast<std::uint64_t>(n)); }

  std::string text() {
    static const std::vector<std::string> pieces = {"weight",
                                                    "bias",
                                                    ".",
                                                    "$tensor",
                                                    "$",
                                                    "\"",
                                                    "\\",
                                                    "\n",
                                                    std::string(1, '\0'),
                                                    "é",
                                                    "漢",
                                                    "\U0001F600",
                                                    "\x7f",
                                                    "__metadata__",
                                                    "0",
                                                    "",
                                                    " ",
                                                    "/",
                                                    "\xff",
                                                    "\xc3"};
    std::string made;
    for (int i = below(4); i >= 0; --i) {
      made += pieces[static_cast<std::size_t>(below(static_cast<int>(pieces.size())))];
    }
    return made;
  }

  at::Tensor tensor() {
    static const std::vector<at::ScalarType> dtypes = {at::kFloat,
                                                       at::kHalf,
                                                       at::kBFloat16,
                                                       at::kDouble,
                                                       at::kLong,
                                                       at::kInt,
                                                       at::kShort,
                                                       at::kChar,
                                                       at::kByte,
                                                       at::kBool,
                                                       at::kUInt16,
                                                       at::kUInt32,
                                                       at::kUInt64,
                                                       at::kComplexFloat,
                                                       at::ScalarType::Float8_e4m3fn,
                                                       at::ScalarType::Float8_e5m2};
    const at::ScalarType dtype =
        dtypes[static_cast<std::size_t>(below(static_cast<int>(dtypes.size())))];
    std::vector<std::int64_t> sizes;
    for (int i = below(4); i > 0; --i) {
      sizes.push_back(below(5));
    }
    at::Tensor made = at::empty(sizes, at::TensorOptions().dtype(dtype));
    auto* bytes = static_cast<unsigned char*>(made.mutable_data_ptr());
    for (std::size_t i = 0; i < made.nbytes(); ++i) {
      bytes[i] = static_cast<unsigned char>(dtype == at::kBool ? below(2) : below(256));
    }
    if (below(3) == 0 && made.dim() > 1) {
      made = made.transpose(0, -1);
    } else if (below(4) == 0 && made.dim() > 0 && made.size(0) > 1) {
      made = made.slice(0, 0, made.size(0), 2);
    }
    if (at::isFloatingType(dtype) && below(4) == 0) {
      made.set_requires_grad(true);
    }
    return made;
  }

 private:
  double real() {
    switch (below(6)) {
      case 0:
        return std::bit_cast<double>(random_());  // also NaN, infinities, denormals
      case 1:
        return std::numeric_limits<double>::infinity() * (below(2) == 0 ? 1 : -1);
      case 2:
        return below(2) == 0 ? 0.0 : -0.0;
      case 3:
        return static_cast<double>(below(1000));
      default:
        return std::ldexp(static_cast<double>(random_()), below(100) - 80);
    }
  }

  // Without tensors and lists.
  fabric::StateValue scalar() {
    using namespace fabric;
    switch (below(11)) {
      case 0:
        return {};
      case 1:
        return below(2) == 0;
      case 2:
        return static_cast<std::int64_t>(random_());
      case 3:
        return below(100);
      case 4:
        return real();
      case 5:
        return std::complex<double>(real(), real());
      case 6: {
        BigInteger big;
        for (int i = below(12) + 9; i > 0; --i) {
          big.bytes.push_back(static_cast<char>(random_()));
        }
        return big;
      }
      case 7:
        return Bytes{text()};
      case 8:
        return below(2) == 0 ? c10::ScalarType::Float : c10::ScalarType::BFloat16;
      case 9:
        return below(2) == 0 ? c10::Device("cpu") : c10::Device("cuda:1");
      default:
        return text();
    }
  }

  fabric::StateValue value(int depth) {
    using namespace fabric;
    const int kind = below(depth > 0 ? 10 : 5);
    if (kind < 3) {
      return scalar();
    }
    if (kind < 5) {
      if (!tensors_.empty() && below(3) == 0) {  // one that is there already
        return tensors_[static_cast<std::size_t>(below(static_cast<int>(tensors_.size())))];
      }
      tensors_.push_back(tensor());
      return tensors_.back();
    }
    if (kind < 7) {
      StateList list(static_cast<StateList::Kind>(below(5)));
      for (int i = below(5); i > 0; --i) {
        list.push_back(value(depth - 1));
      }
      return list;
    }
    StateDict dict;
    dict.ordered = below(3) == 0;
    const bool texts = below(3) != 0;
    for (int i = below(6); i > 0; --i) {
      const StateValue key = texts ? StateValue(text() + std::to_string(i)) : unlike(i);
      dict.set(key, value(depth - 1));
    }
    return dict;
  }

  // A key that no other of its dictionary is.
  fabric::StateValue unlike(int i) {
    switch (below(4)) {
      case 0:
        return i;
      case 1:
        return i + 0.5;
      case 2:
        return fabric::StateList({i, "x"}, fabric::StateList::Kind::tuple);
      default:
        return text() + std::to_string(i);
    }
  }

  std::mt19937_64 random_;
  std::vector<at::Tensor> tensors_;
};
