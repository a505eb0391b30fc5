// The loops over spans, for sources that are compiled for one instruction set each.
//
// Everything here has internal linkage and nothing of the standard library's is called: a function
// shared with other sources could be linked in the form of a processor that is not there.
#pragma once

#include <accelerators/kernels/optimizer_kernels.h>

namespace fabric::kernels {

/// Some spans, one behind the other. What does not depend on one is worked out once for all: where
/// parameters are small it would cost as much as they do.
struct OptimizerSpans {
  const OptimizerSpan* begin;
  const OptimizerSpan* end;
};

/// The loops for one kind of number.
struct OptimizerLoops {
  void (*adam)(OptimizerSpans spans, const AdamNumbers& numbers);
  void (*sgd)(OptimizerSpans spans, const SGDNumbers& numbers);
  void (*adagrad)(OptimizerSpans spans, const AdagradNumbers& numbers);
  void (*lion)(OptimizerSpans spans, const LionNumbers& numbers);
};

/// For any processor, and for one with AVX2 and FMA (null where that was not compiled).
const OptimizerLoops* baseline_loops(Real real);
const OptimizerLoops* avx2_loops(Real real);

namespace {

inline float root(float x) {
  return __builtin_sqrtf(x);
}
inline double root(double x) {
  return __builtin_sqrt(x);
}

// Calls `elements` for each span with its pointers; those of a local variable would not count as
// not overlapping.
template <class T, class Elements>
void each(OptimizerSpans spans, const Elements& elements) {
  for (const OptimizerSpan* span = spans.begin; span != spans.end; ++span) {
    elements(static_cast<T*>(span->parameter), static_cast<const T*>(span->gradient),
             static_cast<T*>(span->state[0]), static_cast<T*>(span->state[1]),
             static_cast<T*>(span->state[2]), span->size);
  }
}

template <class T, bool kL2, bool kAmsgrad>
void adam_loop(OptimizerSpans spans, const AdamNumbers& numbers) {
  const T scale = static_cast<T>(numbers.gradient_scale), l2 = static_cast<T>(numbers.l2),
          keep = static_cast<T>(numbers.keep), beta2 = static_cast<T>(numbers.beta2),
          rest1 = static_cast<T>(1 - numbers.beta1), rest2 = static_cast<T>(1 - numbers.beta2),
          step_size = static_cast<T>(numbers.step_size), eps = static_cast<T>(numbers.eps),
          root_scale = static_cast<T>(numbers.root_scale);
  each<T>(spans, [=](T* __restrict p, const T* __restrict gradient, T* __restrict m,
                     T* __restrict v, [[maybe_unused]] T* __restrict x, std::int64_t size) {
    for (std::int64_t i = 0; i < size; ++i) {
      T g = gradient[i] * scale;
      if constexpr (kL2) {
        g += l2 * p[i];
      }
      const T mean = m[i] + rest1 * (g - m[i]);
      T square = beta2 * v[i] + rest2 * g * g;
      m[i] = mean;
      v[i] = square;
      if constexpr (kAmsgrad) {
        square = x[i] > square ? x[i] : square;
        x[i] = square;
      }
      p[i] = keep * p[i] - step_size * mean / (root(square) * root_scale + eps);
    }
  });
}

template <class T>
void adam_of(OptimizerSpans spans, const AdamNumbers& numbers) {
  if (numbers.l2 != 0) {
    numbers.amsgrad ? adam_loop<T, true, true>(spans, numbers)
                    : adam_loop<T, true, false>(spans, numbers);
  } else {
    numbers.amsgrad ? adam_loop<T, false, true>(spans, numbers)
                    : adam_loop<T, false, false>(spans, numbers);
  }
}

enum class Momentum { none, first, plain, nesterov };

template <class T, Momentum kMomentum>
void sgd_loop(OptimizerSpans spans, const SGDNumbers& numbers) {
  const T scale = static_cast<T>(numbers.gradient_scale), l2 = static_cast<T>(numbers.l2),
          momentum = static_cast<T>(numbers.momentum), rest = static_cast<T>(1 - numbers.dampening),
          lr = static_cast<T>(numbers.lr),
          first = static_cast<T>(numbers.nesterov ? 1 + numbers.momentum : 1);
  const bool decays = numbers.l2 != 0;
  each<T>(spans, [=](T* __restrict p, const T* __restrict gradient,
                     [[maybe_unused]] T* __restrict b, T*, T*, std::int64_t size) {
    for (std::int64_t i = 0; i < size; ++i) {
      const T g = decays ? gradient[i] * scale + l2 * p[i] : gradient[i] * scale;
      if constexpr (kMomentum == Momentum::none) {
        p[i] -= lr * g;
      } else if constexpr (kMomentum == Momentum::first) {
        b[i] = g;
        p[i] -= lr * (first * g);
      } else {
        const T buffer = momentum * b[i] + rest * g;
        b[i] = buffer;
        p[i] -= lr * (kMomentum == Momentum::nesterov ? g + momentum * buffer : buffer);
      }
    }
  });
}

template <class T>
void sgd_of(OptimizerSpans spans, const SGDNumbers& numbers) {
  if (numbers.momentum == 0) {
    sgd_loop<T, Momentum::none>(spans, numbers);
  } else if (numbers.first) {
    sgd_loop<T, Momentum::first>(spans, numbers);
  } else if (numbers.nesterov) {
    sgd_loop<T, Momentum::nesterov>(spans, numbers);
  } else {
    sgd_loop<T, Momentum::plain>(spans, numbers);
  }
}

template <class T>
void adagrad_of(OptimizerSpans spans, const AdagradNumbers& numbers) {
  const T scale = static_cast<T>(numbers.gradient_scale), l2 = static_cast<T>(numbers.l2),
          lr = static_cast<T>(numbers.lr), eps = static_cast<T>(numbers.eps);
  const bool decays = numbers.l2 != 0;
  each<T>(spans, [=](T* __restrict p, const T* __restrict gradient, T* __restrict s, T*, T*,
                     std::int64_t size) {
    for (std::int64_t i = 0; i < size; ++i) {
      const T g = decays ? gradient[i] * scale + l2 * p[i] : gradient[i] * scale;
      const T sum = s[i] + g * g;
      s[i] = sum;
      p[i] -= lr * g / (root(sum) + eps);
    }
  });
}

template <class T>
void lion_of(OptimizerSpans spans, const LionNumbers& numbers) {
  const T scale = static_cast<T>(numbers.gradient_scale), keep = static_cast<T>(numbers.keep),
          rest1 = static_cast<T>(1 - numbers.beta1), beta1 = static_cast<T>(numbers.beta1),
          rest2 = static_cast<T>(1 - numbers.beta2), beta2 = static_cast<T>(numbers.beta2),
          lr = static_cast<T>(numbers.lr);
  each<T>(spans, [=](T* __restrict p, const T* __restrict gradient, T* __restrict m, T*, T*,
                     std::int64_t size) {
    for (std::int64_t i = 0; i < size; ++i) {
      const T g = gradient[i] * scale;
      const T c = beta1 * m[i] + rest1 * g;
      const T sign = (c > 0 ? T(1) : T(0)) - (c < 0 ? T(1) : T(0));
      p[i] = keep * p[i] - lr * sign;
      m[i] = beta2 * m[i] + rest2 * g;
    }
  });
}

template <class T>
constexpr OptimizerLoops kLoops{adam_of<T>, sgd_of<T>, adagrad_of<T>, lion_of<T>};

inline const OptimizerLoops* loops_of(Real real) {
  return real == Real::f32 ? &kLoops<float> : &kLoops<double>;
}

}  // namespace
}  // namespace fabric::kernels
