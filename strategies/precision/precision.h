// What a precision does to a model, its inputs, its forward and its outputs.
#pragma once

#include <memory>
#include <optional>

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <strategies/precision/precision_choice.h>

namespace fabric {

/// `tensor` in a floating-point dtype; integers and bools as they are.
at::Tensor cast_floating(const at::Tensor& tensor, at::ScalarType dtype);
/// Converts in place what `cast_floating` would: all handles of the tensor show the new dtype.
void convert_floating(const at::Tensor& tensor, at::ScalarType dtype);

/// The numbers a model is kept and computed in.
///
/// | precision  | parameters | compute            | inputs   | outputs       | loss scaling |
/// |------------|------------|--------------------|----------|---------------|--------------|
/// | 32-true    | as given   | as given           | as given | as given      |              |
/// | 64-true    | float64    | float64            | float64  | default dtype |              |
/// | bf16-mixed | as given   | autocast, bfloat16 | float32  | default dtype |              |
/// | 16-mixed   | as given   | autocast, float16  | float32  | default dtype | GradScaler   |
/// | bf16-true  | bfloat16   | bfloat16           | bfloat16 | default dtype |              |
/// | 16-true    | float16    | float16            | float16  | default dtype |              |
///
/// Only floating-point tensors are converted, never integers or bools. What each strategy makes of
/// it stands in strategies/precision/README.md.
class Precision {
 public:
  explicit Precision(PrecisionChoice choice, c10::Device device);

  const PrecisionChoice& choice() const { return choice_; }

  /// The dtype floating-point parameters and buffers are converted to at setup, if any.
  std::optional<at::ScalarType> parameter_dtype() const { return parameter_dtype_; }

  /// Whether a routed call computes in another format than the same code outside one would.
  bool mixed() const { return autocast_dtype_.has_value(); }
  std::optional<at::ScalarType> autocast_dtype() const { return autocast_dtype_; }
  /// Whether small gradients would vanish in the format of the computation, so that the loss has to
  /// be scaled: a plain `loss.backward()` is wrong then.
  bool scales_loss() const { return autocast_dtype_ == at::kHalf; }

  /// Whether inputs and outputs of routed calls are converted at all.
  bool converts() const { return mixed() || parameter_dtype_; }
  at::Tensor convert_input(const at::Tensor& input) const;
  /// @param dtype what outputs have outside the call: `output_dtype()` taken before it began
  at::Tensor convert_output(const at::Tensor& output, at::ScalarType dtype) const;
  static at::ScalarType output_dtype();

  /// Holds what must be switched while a routed call runs (autocast, default dtype) and puts it
  /// back, on exceptions too.
  class Scope {
   public:
    explicit Scope(const Precision& precision);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    const Precision* precision_ = nullptr;  // null where nothing was switched
    bool autocast_before_ = false;
    at::ScalarType autocast_dtype_before_{};
    at::ScalarType default_dtype_before_{};
  };

 private:
  PrecisionChoice choice_;
  c10::DeviceType device_type_;
  std::optional<at::ScalarType> parameter_dtype_;
  std::optional<at::ScalarType> autocast_dtype_;
};

}  // namespace fabric
