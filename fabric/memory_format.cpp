#include <fabric/memory_format.h>

#include <ATen/ATen.h>

namespace fabric::detail {

std::optional<at::MemoryFormat> channels_last_format(std::int64_t dimensions) {
  switch (dimensions) {
    case 4:
      return at::MemoryFormat::ChannelsLast;
    case 5:
      return at::MemoryFormat::ChannelsLast3d;
    default:
      return std::nullopt;
  }
}

at::Tensor channels_last(const at::Tensor& tensor) {
  if (tensor.layout() != at::kStrided) {
    return tensor;
  }
  const auto format = channels_last_format(tensor.dim());
  return format ? tensor.contiguous(*format) : tensor;
}

void convert_to_channels_last(const ModelTensors& tensors) {
  const at::NoGradGuard no_grad;
  for (const auto* list : {&tensors.parameters, &tensors.buffers}) {
    for (const NamedTensor& named : *list) {
      if (const at::Tensor converted = channels_last(named.tensor);
          !converted.is_same(named.tensor)) {
        at::Tensor(named.tensor).set_data(converted);
      }
    }
  }
}

}  // namespace fabric::detail
