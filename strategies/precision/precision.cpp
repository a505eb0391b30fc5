#include <strategies/precision/precision.h>

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <c10/core/DefaultDtype.h>

namespace fabric {
at::Tensor cast_floating(const at::Tensor& tensor, at::ScalarType dtype) {
  return at::isFloatingType(tensor.scalar_type()) ? tensor.to(dtype) : tensor;
}

Precision::Precision(PrecisionChoice choice, c10::Device device)
    : choice_(choice),
      device_type_(device.type()),
      mixed_(choice.name() == "bf16-mixed"),
      double_(choice.name() == "64-true"),
      converts_(mixed_ || double_) {}

std::optional<at::ScalarType> Precision::parameter_dtype() const {
  return double_ ? std::optional(at::kDouble) : std::nullopt;
}

at::Tensor Precision::convert_input(const at::Tensor& input) const {
  return cast_floating(input, double_ ? at::kDouble : at::kFloat);
}

at::Tensor Precision::convert_output(const at::Tensor& output, at::ScalarType dtype) const {
  return cast_floating(output, dtype);
}

at::ScalarType Precision::output_dtype() {
  return c10::typeMetaToScalarType(c10::get_default_dtype());
}

Precision::Scope::Scope(const Precision& precision) {
  if (!precision.converts_) {
    return;
  }
  precision_ = &precision;
  if (precision.double_) {
    default_dtype_before_ = output_dtype();
    c10::set_default_dtype(c10::scalarTypeToTypeMeta(at::kDouble));
  } else {
    const c10::DeviceType device = precision.device_type_;
    autocast_before_ = at::autocast::is_autocast_enabled(device);
    autocast_dtype_before_ = at::autocast::get_autocast_dtype(device);
    at::autocast::set_autocast_enabled(device, true);
    at::autocast::set_autocast_dtype(device, at::kBFloat16);
    at::autocast::increment_nesting();
  }
}

Precision::Scope::~Scope() {
  if (!precision_) {
    return;
  }
  if (precision_->double_) {
    c10::set_default_dtype(c10::scalarTypeToTypeMeta(default_dtype_before_));
    return;
  }
  const c10::DeviceType device = precision_->device_type_;
  if (at::autocast::decrement_nesting() == 0) {
    at::autocast::clear_cache();
  }
  at::autocast::set_autocast_dtype(device, autocast_dtype_before_);
  at::autocast::set_autocast_enabled(device, autocast_before_);
}

}  // namespace fabric
