// Modules that are built without memory, and get it where they will stay.
//
// While a DeferredInit lives, operators run on the meta device and are written down on a tape,
// which hangs on the storages that they make. `materialise` runs what a parameter needs of the
// tape.
#pragma once

#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/core/stack.h>
#include <c10/core/Device.h>

namespace c10 {
class OperatorHandle;
}

namespace fabric {

/// While one lives, tensors made on this thread without a device have shape and dtype, but neither
/// memory nor values; where a device is given (`torch::kCPU`) they are real as ever. Nested scopes
/// are one. `Fabric::init_module` opens one for `{.empty_init = true}`.
///
/// Random numbers come from one seed an operator, drawn from the CPU generator when it is recorded:
/// values are a function of the program's seed and the construction alone, whatever the order in
/// which they are materialised, on whichever rank. They are not those of a build without the scope,
/// and those of a GPU are not those of a CPU.
///
/// Code that needs values (`item()`, `nonzero`, a copy to another device) throws
/// MisconfigurationError, raw pointers (accessors) LibTorch's own error.
class DeferredInit {
 public:
  DeferredInit();
  ~DeferredInit();
  DeferredInit(const DeferredInit&) = delete;
  DeferredInit& operator=(const DeferredInit&) = delete;

 private:
  bool included_;
  bool excluded_;
};

/// Whether a tensor has no values yet, but a tape knows how they come about.
bool is_deferred(const at::Tensor& tensor);

/// Gives those of `tensors` that are deferred their values on `device`, in place: identity, hooks
/// and requires_grad stay, gradients (on meta) are dropped. Tensors that shared a storage share one
/// again; handles that are not among `tensors` (`w.detach()`) stay without values. Needs memory for
/// what the operators of one tensor take beside it.
///
///     DeferredInit building; Linear layer(4, 4); // … later:
///     materialise({layer->weight, layer->bias}, torch::kCUDA);
///
/// @throws MisconfigurationError where the module was built from a tensor that has changed since
void materialise(const std::vector<at::Tensor>& tensors, c10::Device device);

/// Records operators on these tensors outside scopes too (`torch::nn::init::zeros_(layer->bias)`
/// between building and setting up).
void keep_recording(const std::vector<at::Tensor>& tensors);

/// For the fallback of the parameter key: runs an operator that makes or takes deferred tensors.
/// @returns false, with nothing done, for all others
bool record_operator(const c10::OperatorHandle& op, torch::jit::Stack& stack);

}  // namespace fabric
