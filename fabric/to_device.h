// Moves tensors, whatever they are packed in, and modules to a device.
#pragma once

#include <concepts>
#include <utility>

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <fabric/structure.h>

namespace fabric {
namespace detail {

// Told by what they can do, so that this header needs neither torch/nn nor torch/script.
template <class T>
concept Module = requires(T& module, c10::Device device) {
  module.to(device, /*non_blocking=*/true);
  module.named_parameters();
};
template <class T>
concept ModulePointer = requires(T& module, c10::Device device) {
  module->to(device, /*non_blocking=*/true);
  module->named_parameters();
  static_cast<bool>(module);
};

/// Whether a copy to `device` may return before it is done. The CUDA stream orders what follows;
/// a copy to the CPU has no such order, and reading it early shows garbage.
inline bool copies_in_stream_order(c10::Device device) {
  return device.is_cuda();
}

inline at::Tensor move_tensor(const at::Tensor& tensor, c10::Device device) {
  if (tensor.device() == device) {
    return tensor;
  }
  return tensor.to(tensor.options().device(device), copies_in_stream_order(device));
}

}  // namespace detail

/// Returns `value` with every tensor in it on `device`: a tensor, a container, optional, map,
/// tuple, torch::data::Example or plain struct of those, nested in any way. What is there already
/// is not copied. Modules held by pointers or holders are moved in place.
///
/// Copies from pinned memory to a CUDA device return at once and are ordered on the current stream.
template <class T>
  requires(!detail::Module<T>)
T to_device(T value, c10::Device device) {
  visit_leaves(value, [&](auto& leaf) {
    using Leaf = std::remove_reference_t<decltype(leaf)>;
    if constexpr (std::is_base_of_v<at::Tensor, Leaf>) {
      if (leaf.defined()) {
        leaf = detail::move_tensor(leaf, device);
      }
    } else if constexpr (detail::Module<Leaf>) {
      leaf.to(device, detail::copies_in_stream_order(device));
    } else if constexpr (detail::ModulePointer<Leaf>) {
      if (leaf) {
        leaf->to(device, detail::copies_in_stream_order(device));
      }
    }
  });
  return value;
}

/// Moves the parameters and buffers of `module` to `device` in place and returns it.
template <detail::Module M>
M& to_device(M& module, c10::Device device) {
  module.to(device, detail::copies_in_stream_order(device));
  return module;
}

}  // namespace fabric
