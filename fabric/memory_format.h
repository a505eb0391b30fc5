// Channels-last: the `memory_format` option of setup, and tensors brought to it.
#pragma once

#include <optional>

#include <ATen/core/Tensor.h>

#include <accelerators/named_choice.h>
#include <strategies/strategy.h>

namespace fabric {

namespace detail {
struct MemoryFormatNames {
  static constexpr std::string_view what = "memory format";
  static constexpr std::string_view names[] = {"preserve", "channels_last"};
  static constexpr void check(bool known) {
    if (!known) {
      throw "memory_format: expected \"preserve\" or \"channels_last\"";
    }
  }
};
}  // namespace detail

/// How images lie in memory. Values and shapes are the same; convolutions on tensor cores, and
/// many on the CPU, are faster on `"channels_last"`.
///
/// - `"preserve"` (default): as they are
/// - `"channels_last"`: parameters and buffers of 4 dimensions become NHWC, those of 5 NDHWC, at
///   setup; tensors of as many dimensions that are given to routed calls likewise, whatever their
///   dtype. Operators hand the format on, so outputs have it too. `view` of such a tensor may
///   throw where `reshape` or `flatten` copies.
using MemoryFormatChoice = NamedChoice<detail::MemoryFormatNames>;

namespace detail {

/// The channels-last format for tensors of so many dimensions, if there is one.
std::optional<at::MemoryFormat> channels_last_format(std::int64_t dimensions);

/// `tensor` in its channels-last format; itself where it has it, or there is none.
at::Tensor channels_last(const at::Tensor& tensor);

/// Brings parameters and buffers to their channels-last format in place: handles stay the same.
void convert_to_channels_last(const ModelTensors& tensors);

}  // namespace detail
}  // namespace fabric
