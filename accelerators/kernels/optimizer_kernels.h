// Updates of optimizers on the CPU: one pass over parameter, gradient and state where they lie.
//
// An update is bound by memory, and by the call where parameters are small. ATen's fused kernels
// cost half a microsecond a tensor; gathering small gradients into flat storage costs a pass over
// them. Going from tensor to tensor inside one call costs neither.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace fabric::kernels {

/// The elements of one parameter, in the order of its memory. Pointers are to float or double, the
/// same for all; they do not overlap. States an update does not use may be null.
struct OptimizerSpan {
  void* parameter = nullptr;
  const void* gradient = nullptr;
  std::array<void*, 3> state{};
  std::int64_t size = 0;
};

/// What floating-point numbers the spans of a call hold.
enum class Real { f32, f64 };

/// Gradients are multiplied by `gradient_scale` first (-1 where the objective is maximised).
///
///     g = gradient_scale · gradient + l2 · p;  p = keep · p
///     m = m + (1 - β₁)(g - m);  v = β₂ v + (1 - β₂) g²;  x = amsgrad ? max(x, v) : v
///     p = p - step_size · m / (√x · root_scale + eps)
///
/// States: m, v, x. D. Kingma, J. Ba: Adam, 2015; I. Loshchilov, F. Hutter: Decoupled weight decay
/// regularization, 2019; S. Reddi et al.: On the convergence of Adam and beyond, 2018.
struct AdamNumbers {
  double gradient_scale = 1, l2 = 0, keep = 1, beta1 = 0.9, beta2 = 0.999, step_size = 1e-3,
         root_scale = 1, eps = 1e-8;
  bool amsgrad = false;
};
void adam(Real real, std::span<const OptimizerSpan> spans, const AdamNumbers& numbers);

///     g = gradient_scale · gradient + l2 · p
///     b = first ? g : momentum · b + (1 - dampening) g
///     p = p - lr · (momentum == 0 ? g : nesterov ? g + momentum · b : b)
///
/// State: b, where momentum is not 0.
struct SGDNumbers {
  double gradient_scale = 1, l2 = 0, momentum = 0, dampening = 0, lr = 1e-3;
  bool nesterov = false, first = false;
};
void sgd(Real real, std::span<const OptimizerSpan> spans, const SGDNumbers& numbers);

///     g = gradient_scale · gradient + l2 · p;  s = s + g²;  p = p - lr · g / (√s + eps)
///
/// State: s. J. Duchi, E. Hazan, Y. Singer: Adaptive subgradient methods, 2011.
struct AdagradNumbers {
  double gradient_scale = 1, l2 = 0, lr = 1e-2, eps = 1e-10;
};
void adagrad(Real real, std::span<const OptimizerSpan> spans, const AdagradNumbers& numbers);

///     g = gradient_scale · gradient
///     p = keep · p - lr · sign(β₁ m + (1 - β₁) g);  m = β₂ m + (1 - β₂) g
///
/// State: m. X. Chen et al.: Symbolic discovery of optimization algorithms, 2023, arXiv 2302.06675.
struct LionNumbers {
  double gradient_scale = 1, keep = 1, beta1 = 0.9, beta2 = 0.99, lr = 1e-4;
};
void lion(Real real, std::span<const OptimizerSpan> spans, const LionNumbers& numbers);

}  // namespace fabric::kernels
