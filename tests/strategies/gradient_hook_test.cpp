// What the gradient engine takes for granted of autograd. When LibTorch changes it, this fails
// first.
#include <doctest/doctest.h>

#include <torch/torch.h>

#include <strategies/flat/gradient_hook.h>

using fabric::at_end_of_backward;
using fabric::GradientFilter;
using fabric::GradientHook;
using torch::Tensor;

TEST_SUITE("strategies.gradient_hook") {
  TEST_CASE("a hook runs once a backward, after the gradient was added") {
    Tensor weight = torch::ones({2}, torch::requires_grad());
    int calls = 0;
    double seen = 0;
    GradientHook hook(weight, [&] {
      ++calls;
      seen = weight.grad()[0].item<double>();
    });
    (weight * 2 + weight * 3).sum().backward();  // used twice
    CHECK(calls == 1);
    CHECK(seen == 5);
    weight.sum().backward();
    CHECK(calls == 2);
    CHECK(seen == 6);
    torch::autograd::grad({weight.sum()}, {weight});  // accumulates nothing
    CHECK(calls == 2);
  }

  TEST_CASE("a hook ends with its object") {
    Tensor weight = torch::ones({2}, torch::requires_grad());
    int calls = 0;
    const Tensor loss = weight.sum();
    {
      GradientHook hook(weight, [&] { ++calls; });
      GradientHook moved = std::move(hook);
      CHECK(moved.attached(weight));
    }
    loss.backward();
    CHECK(calls == 0);
  }

  TEST_CASE("a frozen parameter calls back once it is unfrozen") {
    Tensor weight = torch::ones({2});
    int calls = 0;
    GradientHook hook(weight, [&] { ++calls; });
    CHECK(!weight.requires_grad());
    weight.requires_grad_(true);
    weight.sum().backward();
    CHECK(calls == 1);
    CHECK(hook.attached(weight));
  }

  TEST_CASE("a conversion loses the hook, and attached() tells") {
    Tensor weight = torch::ones({2}, torch::requires_grad());
    GradientHook hook(weight, [] {});
    CHECK(hook.attached(weight));
    weight.set_data(weight.to(torch::kDouble));
    CHECK(!hook.attached(weight));
  }

  TEST_CASE("a factor multiplies each gradient before it is added") {
    Tensor weight = torch::ones({2});
    {
      const GradientFilter filter(weight,
                                  [](const torch::Tensor& gradient) { return gradient * 3; });
      weight.requires_grad_(true);
      weight.sum().backward();
      weight.sum().backward();
      CHECK(weight.grad()[0].item<double>() == 6);
    }
    weight.sum().backward();
    CHECK(weight.grad()[0].item<double>() == 7);
  }

  TEST_CASE("the end of a backward is told apart from its failure") {
    Tensor weight = torch::ones({2}, torch::requires_grad());
    int finished = 0, abandoned = 0;
    GradientHook hook(weight,
                      [&] { at_end_of_backward([&] { ++finished; }, [&] { ++abandoned; }); });
    weight.sum().backward();
    CHECK(finished == 1);
    CHECK(abandoned == 0);
    Tensor other = torch::ones({2}, torch::requires_grad());
    other.register_hook([](Tensor) -> Tensor { throw std::runtime_error("on purpose"); });
    // Later nodes first: the hook of `weight` runs before `other` fails.
    const Tensor late = other * 2;
    CHECK_THROWS((late + weight.sum()).sum().backward());
    CHECK(finished == 1);
    CHECK(abandoned <= 1);
  }

  TEST_CASE("nested backwards have numbers of their own") {
    Tensor outer = torch::ones({1}, torch::requires_grad());
    Tensor inner = torch::ones({1}, torch::requires_grad());
    int outside = -1, inside = -1;
    GradientHook inner_hook(inner, [&] { inside = fabric::current_backward(); });
    outer.register_hook([&](const Tensor& gradient) {
      outside = fabric::current_backward();
      const torch::AutoGradMode on(true);
      inner.sum().backward();
      return gradient;
    });
    outer.sum().backward();
    CHECK(outside >= 0);
    CHECK(inside > outside);
  }
}
