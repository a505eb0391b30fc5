#include <fabric/init_module.h>

#include <vector>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/DefaultDtype.h>

#include <accelerators/error.h>

namespace fabric::detail {

InitScope::InitScope(std::optional<at::ScalarType> dtype, InitOptions options)
    : before_(c10::typeMetaToScalarType(c10::get_default_dtype())) {
  c10::set_default_dtype(c10::scalarTypeToTypeMeta(dtype.value_or(before_)));
  if (options.empty_init) {
    deferred_.emplace();
  }
}

InitScope::~InitScope() {
  c10::set_default_dtype(c10::scalarTypeToTypeMeta(before_));
}

void keep_recording_model(const ModelTensors& tensors) {
  for (const auto* list : {&tensors.parameters, &tensors.buffers}) {
    for (const NamedTensor& named : *list) {
      keep_recording({named.tensor});
    }
  }
}

void check_values_known(const std::string& label, const ModelTensors& tensors) {
  for (const auto* list : {&tensors.parameters, &tensors.buffers}) {
    for (const NamedTensor& named : *list) {
      FABRIC_CHECK(Misconfiguration, !named.tensor.is_meta() || is_deferred(named.tensor),
                   "[fabric.setup] ", list == &tensors.parameters ? "parameter '" : "buffer '",
                   named.name, "' of ", label,
                   " lies on the meta device and nothing says what its ", "values are; got ",
                   named.tensor.scalar_type(), " ", named.tensor.sizes(),
                   "; expected values, or a module from fabric.init_module(build, ",
                   "{.empty_init = true}). Hint: build it there, or assign real tensors before ",
                   "fabric.setup.");
    }
  }
}

bool materialise_model(const ModelTensors& tensors, const Strategy& strategy, c10::Device device) {
  std::vector<at::Tensor> now;
  bool left = false;
  for (const NamedTensor& named : tensors.buffers) {
    now.push_back(named.tensor);
  }
  for (const NamedTensor& named : tensors.parameters) {
    if (!strategy.materialises()) {
      now.push_back(named.tensor);
    } else {
      left |= is_deferred(named.tensor);
    }
  }
  materialise(now, device);
  return left;
}

void move_present(const ModelTensors& tensors, c10::Device device) {
  const at::NoGradGuard no_grad;
  for (const auto* list : {&tensors.parameters, &tensors.buffers}) {
    for (const NamedTensor& named : *list) {
      if (!named.tensor.is_meta() && named.tensor.device() != device) {
        named.tensor.set_data(named.tensor.to(device));
      }
    }
  }
}

}  // namespace fabric::detail
