// The loops for every instruction set compute the same. What they compute is tested with the
// optimizers.
#include <cmath>
#include <random>
#include <vector>

#include <accelerators/kernels/cpu/optimizer_loops.h>

#include <doctest/doctest.h>

namespace {

using namespace fabric::kernels;

// Parameter, gradient and three states of one call.
template <class T>
struct Numbers {
  std::vector<std::vector<T>> arrays;

  explicit Numbers(std::size_t size) {
    std::mt19937 random(7);
    std::uniform_real_distribution<T> values(-1, 1);
    for (int i = 0; i < 5; ++i) {
      arrays.emplace_back(size);
      for (T& value : arrays.back()) {
        value = i == 0 || i == 1 ? values(random) : std::abs(values(random));  // squares
      }
    }
  }
  OptimizerSpan span() {
    return {arrays[0].data(),
            arrays[1].data(),
            {arrays[2].data(), arrays[3].data(), arrays[4].data()},
            static_cast<std::int64_t>(arrays[0].size())};
  }
};

template <class T>
double difference(const Numbers<T>& a, const Numbers<T>& b) {
  double largest = 0;
  for (std::size_t k = 0; k < a.arrays.size(); ++k) {
    for (std::size_t i = 0; i < a.arrays[k].size(); ++i) {
      largest = std::max<double>(largest, std::abs(a.arrays[k][i] - b.arrays[k][i]));
    }
  }
  return largest;
}

template <class T, class Loop, class Options>
void compare(Loop loop, const Options& options, double tolerance) {
  const Real real = sizeof(T) == 4 ? Real::f32 : Real::f64;
  for (const std::size_t size : {1, 3, 8, 37}) {
    Numbers<T> slow(size), fast(size);
    const Numbers<T> before(size);
    Numbers<T> slow_too(2 * size), fast_too(2 * size);  // a second span of the same call
    const OptimizerSpan slow_spans[] = {slow.span(), slow_too.span()};
    const OptimizerSpan fast_spans[] = {fast.span(), fast_too.span()};
    (baseline_loops(real)->*loop)({slow_spans, slow_spans + 2}, options);
    (avx2_loops(real)->*loop)({fast_spans, fast_spans + 2}, options);
    CHECK(difference(slow, fast) < tolerance);
    CHECK(difference(slow, before) > 1e-3);
    CHECK(difference(slow_too, fast_too) < tolerance);
    CHECK(difference(slow_too, Numbers<T>(2 * size)) > 1e-3);
  }
}

template <class T>
void compare_all(double tolerance) {
  for (const bool amsgrad : {false, true}) {
    for (const double l2 : {0.0, 0.1}) {
      compare<T>(&OptimizerLoops::adam,
                 AdamNumbers{.gradient_scale = -0.5,
                             .l2 = l2,
                             .keep = 0.9,
                             .step_size = 0.1,
                             .root_scale = 1.5,
                             .amsgrad = amsgrad},
                 tolerance);
    }
  }
  compare<T>(&OptimizerLoops::sgd, SGDNumbers{.l2 = 0.1, .lr = 0.1}, tolerance);
  for (const bool first : {false, true}) {
    for (const bool nesterov : {false, true}) {
      compare<T>(&OptimizerLoops::sgd,
                 SGDNumbers{.momentum = 0.9,
                            .dampening = nesterov ? 0 : 0.3,
                            .lr = 0.1,
                            .nesterov = nesterov,
                            .first = first},
                 tolerance);
    }
  }
  compare<T>(&OptimizerLoops::adagrad, AdagradNumbers{.l2 = 0.1, .lr = 0.1}, tolerance);
  compare<T>(&OptimizerLoops::lion, LionNumbers{.keep = 0.9, .lr = 0.1}, tolerance);
}

}  // namespace

TEST_CASE("loops for AVX2 compute what those for any processor do") {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    compare_all<float>(1e-6);
    compare_all<double>(1e-14);
  }
#endif
  // Where it is all there is, the other tests run on it.
  REQUIRE(baseline_loops(Real::f32) != nullptr);
  REQUIRE(baseline_loops(Real::f64) != nullptr);
}
