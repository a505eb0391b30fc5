#include <strategies/precision/precision.h>

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <c10/core/DefaultDtype.h>

namespace fabric {

at::Tensor cast_floating(const at::Tensor& tensor, at::ScalarType dtype) {
  return at::isFloatingType(tensor.scalar_type()) ? tensor.to(dtype) : tensor;
}

void convert_floating(const at::Tensor& tensor, at::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  if (const at::Tensor converted = cast_floating(tensor, dtype); !converted.is_same(tensor)) {
    tensor.set_data(converted);
  }
}

namespace {

std::optional<at::ScalarType> true_dtype(PrecisionChoice::Kind kind) {
  switch (kind) {
    case PrecisionChoice::fp64_true:
      return at::kDouble;
    case PrecisionChoice::fp16_true:
      return at::kHalf;
    case PrecisionChoice::bf16_true:
      return at::kBFloat16;
    default:
      return std::nullopt;
  }
}

std::optional<at::ScalarType> mixed_dtype(PrecisionChoice::Kind kind) {
  switch (kind) {
    case PrecisionChoice::fp16_mixed:
      return at::kHalf;
    case PrecisionChoice::bf16_mixed:
      return at::kBFloat16;
    default:
      return std::nullopt;
  }
}

}  // namespace

Precision::Precision(PrecisionChoice choice, c10::Device device)
    : choice_(choice),
      device_type_(device.type()),
      parameter_dtype_(true_dtype(choice.kind())),
      autocast_dtype_(mixed_dtype(choice.kind())) {}

at::Tensor Precision::convert_input(const at::Tensor& input) const {
  return cast_floating(input, parameter_dtype_.value_or(at::kFloat));
}

at::Tensor Precision::convert_output(const at::Tensor& output, at::ScalarType dtype) const {
  return cast_floating(output, dtype);
}

at::ScalarType Precision::output_dtype() {
  return c10::typeMetaToScalarType(c10::get_default_dtype());
}

Precision::Scope::Scope(const Precision& precision) {
  if (!precision.converts()) {
    return;
  }
  precision_ = &precision;
  if (precision.parameter_dtype_) {
    default_dtype_before_ = output_dtype();
    c10::set_default_dtype(c10::scalarTypeToTypeMeta(*precision.parameter_dtype_));
  } else {
    const c10::DeviceType device = precision.device_type_;
    autocast_before_ = at::autocast::is_autocast_enabled(device);
    autocast_dtype_before_ = at::autocast::get_autocast_dtype(device);
    at::autocast::set_autocast_enabled(device, true);
    at::autocast::set_autocast_dtype(device, *precision.autocast_dtype_);
    at::autocast::increment_nesting();
  }
}

Precision::Scope::~Scope() {
  if (!precision_) {
    return;
  }
  if (precision_->parameter_dtype_) {
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
