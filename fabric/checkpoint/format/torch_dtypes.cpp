#include <fabric/checkpoint/format/torch_dtypes.h>

#include <algorithm>
#include <array>

namespace fabric::detail {
namespace {

using c10::ScalarType;

// Classes of storages exist for what PyTorch had when it introduced them; later dtypes have none.
constexpr auto kDtypes = std::to_array<TorchDtype>({
    {ScalarType::Float, "float32", "FloatStorage"},
    {ScalarType::Double, "float64", "DoubleStorage"},
    {ScalarType::Half, "float16", "HalfStorage"},
    {ScalarType::BFloat16, "bfloat16", "BFloat16Storage"},
    {ScalarType::Byte, "uint8", "ByteStorage"},
    {ScalarType::Char, "int8", "CharStorage"},
    {ScalarType::Short, "int16", "ShortStorage"},
    {ScalarType::Int, "int32", "IntStorage"},
    {ScalarType::Long, "int64", "LongStorage"},
    {ScalarType::Bool, "bool", "BoolStorage"},
    {ScalarType::ComplexFloat, "complex64", "ComplexFloatStorage"},
    {ScalarType::ComplexDouble, "complex128", "ComplexDoubleStorage"},
    {ScalarType::ComplexHalf, "complex32"},
    {ScalarType::UInt16, "uint16"},
    {ScalarType::UInt32, "uint32"},
    {ScalarType::UInt64, "uint64"},
    {ScalarType::Float8_e5m2, "float8_e5m2"},
    {ScalarType::Float8_e4m3fn, "float8_e4m3fn"},
    {ScalarType::Float8_e5m2fnuz, "float8_e5m2fnuz"},
    {ScalarType::Float8_e4m3fnuz, "float8_e4m3fnuz"},
    {ScalarType::Float8_e8m0fnu, "float8_e8m0fnu"},
    {ScalarType::Float4_e2m1fn_x2, "float4_e2m1fn_x2"},
    {ScalarType::Bits8, "bits8"},
    {ScalarType::Bits16, "bits16"},
    {ScalarType::Bits1x8, "bits1x8"},
    {ScalarType::Bits2x4, "bits2x4"},
    {ScalarType::Bits4x2, "bits4x2"},
    {ScalarType::QInt8, "qint8", "QInt8Storage", false},
    {ScalarType::QInt32, "qint32", "QInt32Storage", false},
    {ScalarType::QUInt8, "quint8", "QUInt8Storage", false},
    {ScalarType::QUInt4x2, "quint4x2", "QUInt4x2Storage", false},
    {ScalarType::QUInt2x4, "quint2x4", "QUInt2x4Storage", false},
    {ScalarType::UInt1, "uint1", {}, false},
    {ScalarType::UInt2, "uint2", {}, false},
    {ScalarType::UInt3, "uint3", {}, false},
    {ScalarType::UInt4, "uint4", {}, false},
    {ScalarType::UInt5, "uint5", {}, false},
    {ScalarType::UInt6, "uint6", {}, false},
    {ScalarType::UInt7, "uint7", {}, false},
    {ScalarType::Int1, "int1", {}, false},
    {ScalarType::Int2, "int2", {}, false},
    {ScalarType::Int3, "int3", {}, false},
    {ScalarType::Int4, "int4", {}, false},
    {ScalarType::Int5, "int5", {}, false},
    {ScalarType::Int6, "int6", {}, false},
    {ScalarType::Int7, "int7", {}, false},
});

template <class Condition>
const TorchDtype* find(const Condition& condition) {
  const auto found = std::find_if(kDtypes.begin(), kDtypes.end(), condition);
  return found == kDtypes.end() ? nullptr : &*found;
}

}  // namespace

const TorchDtype* find_torch_dtype(ScalarType dtype) {
  return find([&](const TorchDtype& each) { return each.dtype == dtype; });
}

const TorchDtype* find_torch_dtype(std::string_view name) {
  return find([&](const TorchDtype& each) { return each.name == name; });
}

const TorchDtype* find_torch_storage(std::string_view storage) {
  return find(
      [&](const TorchDtype& each) { return !each.storage.empty() && each.storage == storage; });
}

}  // namespace fabric::detail
