// The tables of types that the toolkit knows by itself.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include <fabric/config/types/type.h>

// LibTorch's, whose headers are not needed here (torch_types.cpp includes them).
namespace c10 {
enum class ScalarType : std::int8_t;
struct Device;
}  // namespace c10

namespace fabric::config::detail {

/// Stands for a type in an overload.
template <class T>
struct Of {};

const Type& builtin(Of<bool>);
const Type& builtin(Of<signed char>);
const Type& builtin(Of<unsigned char>);
const Type& builtin(Of<short>);
const Type& builtin(Of<unsigned short>);
const Type& builtin(Of<int>);
const Type& builtin(Of<unsigned int>);
const Type& builtin(Of<long>);
const Type& builtin(Of<unsigned long>);
const Type& builtin(Of<long long>);
const Type& builtin(Of<unsigned long long>);
const Type& builtin(Of<float>);
const Type& builtin(Of<double>);
const Type& builtin(Of<std::string>);
const Type& builtin(Of<std::filesystem::path>);
/// "float32", "bfloat16", "int64"; also C++'s names ("half", "long").
const Type& builtin(Of<c10::ScalarType>);
/// "cpu", "cuda", "cuda:1".
const Type& builtin(Of<c10::Device>);

}  // namespace fabric::config::detail
