// Modules whose owner refuses macros: their entries carry the attribute. What must not be taken for
// one is here as well.
#pragma once

#include <torch/torch.h>

#define ATTRIBUTED_BY_MACRO [[fabric::inference_entry]]

namespace owner {

using torch::Tensor;

struct Sampling {
  int n = 1;
};

// The parser's grammar does not know this declaration.
template <class T>
struct Held {
  T value;
};
extern template struct Held<int>;

// [[fabric::inference_entry]] in a comment is none.
struct NetImpl : torch::nn::Module {
  NetImpl() : layer(register_module("layer", torch::nn::Linear(2, 2))) {}
  Tensor forward(Tensor x) { return layer(x); }

  [[fabric::inference_entry]] Tensor evaluation_step(Tensor x);
  [[nodiscard, fabric::inference_entry(.grad = "off", .mode = "eval")]] virtual int generate(
      const Tensor&, Sampling sampling) const noexcept {
    return sampling.n;
  }
  template <class T>
  [[fabric::inference_entry]] T twice(T x) {
    return x + x;
  }
  [[fabric::inference_entry]] Tensor scaled(Tensor x, double factor = 3) { return x * factor; }
  double scaled(double x) { return x * 2; }
  auto after [[fabric::inference_entry]] (int x) -> int { return x + 1; }
  ATTRIBUTED_BY_MACRO const std::string& text() {
    static const std::string text = "[[fabric::inference_entry]] Tensor in_a_string();";
    return text;
  }
#if 0
  [[fabric::inference_entry]] void compiled_out();
#endif
  int not_an_entry() { return 1'000'000; }

  torch::nn::Linear layer;

  struct InnerImpl : torch::nn::Module {
    [[using fabric: inference_entry]] int inner() { return 5; }
  };
};

struct DerivedImpl : public NetImpl {
  [[fabric::inference_entry]] int extra() { return 7; }
  int generate(const Tensor&, Sampling sampling) const noexcept override { return 10 * sampling.n; }
};

struct PlainDerivedImpl : NetImpl {};

inline namespace v1 {
template <class T>
  requires(sizeof(T) > 1)
class TemplatedImpl : public torch::nn::Module {
  T hidden() { return T(); }

 public:
  [[fabric::inference_entry]] T value(T x) { return x + hidden(); }
};
}  // namespace v1

}  // namespace owner
