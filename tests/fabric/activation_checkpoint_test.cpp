// fabric::checkpoint against the same call without it: values, gradients, states, errors.
#include <doctest/doctest.h>

#include <numeric>

#include <ATen/autocast_mode.h>
#include <torch/script.h>
#include <torch/torch.h>

#include <fabric/fabric.h>

#include <tests/support/captured_log.h>
#include <tests/support/counted_memory.h>
#include <tests/support/leaks.h>
#include <tests/support/training.h>

namespace {

using fabric::checkpoint;
using fabric::MisconfigurationError;
using fabric::RoutingError;
using support::CapturedLog;
using support::MLP;
using torch::Tensor;
namespace nn = torch::nn;

Tensor randn(at::IntArrayRef shape) {
  return torch::randn(shape, torch::kDouble);
}

Tensor leaf(at::IntArrayRef shape) {
  return randn(shape).requires_grad_();
}

/// A layer with weights in double precision that counts its calls, and those of backward.
struct BlockImpl : nn::Module {
  explicit BlockImpl(int64_t width = 6)
      : up(register_module("up", nn::Linear(width, 4 * width))),
        down(register_module("down", nn::Linear(4 * width, width))),
        dropout(register_module("dropout", nn::Dropout(0.5))) {
    to(torch::kDouble);
    eval();
  }
  Tensor forward(const Tensor& x) {
    ++(fabric::recomputing() ? again : calls);
    return x + down(dropout(torch::gelu(up(x))));
  }
  nn::Linear up, down;
  nn::Dropout dropout;
  int calls = 0, again = 0;
};
TORCH_MODULE(Block);

std::vector<Tensor> grads_of(const std::vector<Tensor>& tensors) {
  std::vector<Tensor> grads;
  for (const Tensor& tensor : tensors) {
    grads.push_back(tensor.grad().defined() ? tensor.grad().clone() : Tensor());
    tensor.mutable_grad().reset();
  }
  return grads;
}

void check_same(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    CAPTURE(i);
    REQUIRE(a[i].defined() == b[i].defined());
    CHECK((!a[i].defined() || torch::equal(a[i], b[i])));
  }
}

/// Runs `loss(run)` with `run` a plain call and with fabric::checkpoint, from the same random
/// numbers; the loss and the numbers drawn afterwards must be equal bit by bit, gradients but for
/// the order of sums over uses.
template <class Loss>
void compare(const std::vector<Tensor>& leaves, Loss loss) {
  const auto plain = [](auto&& function, auto&&... args) { return std::invoke(function, args...); };
  const auto checkpointed = [](auto&& function, auto&&... args) {
    return checkpoint(function, args...);
  };
  torch::manual_seed(3);
  const Tensor expected = loss(plain);
  expected.backward();
  const Tensor drawn = torch::rand({3});
  const std::vector<Tensor> gradients = grads_of(leaves);
  torch::manual_seed(3);
  const Tensor got = loss(checkpointed);
  got.backward();
  CHECK(torch::equal(got, expected));
  CHECK(torch::equal(torch::rand({3}), drawn));
  const std::vector<Tensor> again = grads_of(leaves);
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    CAPTURE(i);
    REQUIRE(again[i].defined() == gradients[i].defined());
    CHECK((!again[i].defined() || torch::allclose(again[i], gradients[i], 1e-13, 1e-13)));
  }
}

struct Parts {
  Tensor value;
  Tensor index;
  std::vector<Tensor> rest;
  double scale = 1;
};

}  // namespace

TEST_SUITE("fabric.activation_checkpoint") {
  TEST_CASE("values and gradients are those of a plain call") {
    Block block;
    const Tensor x = leaf({3, 6});
    std::vector<Tensor> leaves = block->parameters();
    leaves.push_back(x);
    SUBCASE("a module") {
      compare(leaves, [&](auto run) { return run(block, x).square().sum(); });
    }
    SUBCASE("with dropout") {
      block->train();
      compare(leaves, [&](auto run) { return (run(block, x) + torch::rand({1})).square().sum(); });
    }
    SUBCASE("twice, and used outside as well") {
      compare(leaves, [&](auto run) {
        return (run(block, run(block, x)) + block(x)).square().sum() +
               block->up->weight.square().sum();
      });
    }
    SUBCASE("nested") {
      block->train();
      compare(leaves, [&](auto run) {
        return run([&](const Tensor& y) { return run(block, run(block, y).tanh()); }, x.exp())
            .square()
            .sum();
      });
    }
    SUBCASE("no argument requires grad") {
      compare(leaves, [&](auto run) { return run(block, x.detach()).sum(); });
    }
    SUBCASE("captured tensors, leaves or not") {
      const Tensor scale = leaf({6});
      leaves.push_back(scale);
      compare(leaves, [&](auto run) {
        const Tensor hidden = x.sin(), factor = scale.exp();
        return (run([=, &scale]() mutable { return block(hidden * scale) * factor; }) * hidden)
            .sum();
      });
    }
    SUBCASE("the result is changed in place") {
      compare(leaves, [&](auto run) {
        Tensor y = run(block, x);
        y.mul_(3).add_(x);
        return y.square().sum();
      });
    }
    SUBCASE("views go in and out") {
      compare(leaves, [&](auto run) {
        return run([&](const Tensor& y) { return block(y).transpose(0, 1); }, x.view({6, 3}).t())
            .square()
            .sum();
      });
    }
    SUBCASE("a view whose base was written before the call") {
      compare(leaves, [&](auto run) {
        Tensor base = x * 1;
        const Tensor rows = base.narrow(0, 0, 2);
        base.mul_(3);
        return run(block, rows).square().sum() + base.sum();
      });
    }
    SUBCASE("the result is an argument, a parameter, the same tensor twice") {
      compare(leaves, [&](auto run) {
        const auto results = run(
            [block](const Tensor& y) mutable {
              const Tensor z = block(y);
              return std::tuple(y, block->up->weight, z, z, z.detach());
            },
            x * 2);
        return std::get<0>(results).sum() + std::get<1>(results).square().sum() +
               std::get<2>(results).square().sum() + std::get<3>(results).exp().sum();
      });
    }
    SUBCASE("an in-place operator inside") {
      compare(leaves, [&](auto run) {
        return run([&](const Tensor& y) { return (y * 2).relu_() * block(y).mul_(2); }, x).sum();
      });
    }
    SUBCASE("a parameter that is written through views") {
      compare(leaves, [&](auto run) {
        return run(
                   [](const Tensor& y) {
                     Tensor z = y * 2;
                     z.select(0, 1).mul_(y.select(0, 0));  // CopySlices
                     return z;
                   },
                   x)
            .square()
            .sum();
      });
    }
  }

  TEST_CASE("a function in any form") {
    const auto module = std::make_shared<BlockImpl>();
    const Tensor x = leaf({2, 6});
    const Tensor expected = module->forward(x);
    auto check = [&](const Tensor& result) {
      CHECK(torch::equal(result, expected));
      CHECK(result.grad_fn()->name() == "fabric::Checkpoint");
      const int before = module->again;
      result.sum().backward();
      CHECK(module->again == before + 1);
    };
    Block holder(module);
    check(checkpoint(holder, x));
    check(checkpoint(Block(module), x));
    check(checkpoint(module, x));
    check(checkpoint(*module, x));
    check(checkpoint(module.get(), x));
    check(checkpoint(nn::AnyModule(module), x));
    check(checkpoint(nn::Sequential(module), x));
    check(checkpoint(&BlockImpl::forward, module, x));
    check(checkpoint([module](Tensor y) { return module->forward(y); }, x));
    check(checkpoint(std::function<Tensor(const Tensor&)>(
                         [module](const Tensor& y) { return module->forward(y); }),
                     x));
    check(checkpoint({.preserve_rng = false}, holder, x));
    check(checkpoint({}, [=] { return module->forward(x); }));
    const fabric::CheckpointOptions options{.check = false};
    check(checkpoint(options, holder, x));
    nn::ModuleList list(holder);
    check(checkpoint(list[0]->as<Block>(), x));
    fabric::Fabric fabric;
    check(checkpoint(fabric.setup(holder), x));

    BlockImpl on_the_stack;
    const Tensor y = checkpoint(on_the_stack, x);
    y.sum().backward();
    CHECK(on_the_stack.again == 1);
    const Tensor z = checkpoint(torch::sigmoid, x);
    z.sum().backward();
    CHECK(z.grad_fn()->name() == "fabric::Checkpoint");
    torch::jit::Module script("script");
    script.register_parameter("w", leaf({6}), false);
    script.define("def forward(self, x):\n  return (torch.tanh(x * self.w), 3)\n");
    for (int run = 0; run < 4; ++run) {  // its executor changes its graphs after two
      const c10::IValue pair = checkpoint(script, x);
      script.attr("w").toTensor().mutable_grad().reset();
      pair.toTupleRef().elements()[0].toTensor().sum().backward();
      const Tensor w = script.attr("w").toTensor();
      CHECK(torch::allclose(w.grad(), (x * (1 - (x * w).tanh().square())).sum(0)));
    }
    CHECK_THROWS_AS(checkpoint(Block(nullptr), x), MisconfigurationError);
    CHECK_THROWS_AS(checkpoint(std::shared_ptr<BlockImpl>(), x), MisconfigurationError);
    CHECK_THROWS_AS(checkpoint(static_cast<BlockImpl*>(nullptr), x), MisconfigurationError);
    CHECK_THROWS_AS(checkpoint(nn::AnyModule(), x), MisconfigurationError);
  }

  TEST_CASE("arguments and results of any structure") {
    const Tensor x = leaf({4, 3}), y = leaf({4, 3}), z = leaf({3});
    compare({x, y, z}, [&](auto run) {
      const Parts parts{
          .value = x * 1, .index = torch::tensor({2, 0}), .rest = {y * 2}, .scale = 3};
      const auto [out, count] = run(
          [](const Parts& in, std::optional<Tensor> bias, const std::string& name, Tensor none) {
            CHECK(name == "name");
            CHECK_FALSE(none.defined());
            Tensor rows = in.value.index_select(0, in.index) * in.scale + *bias;
            return std::pair(
                Parts{.value = rows, .index = in.index + 1, .rest = {in.rest[0].exp()}},
                std::vector<Tensor>{torch::tensor(7), Tensor()});
          },
          parts, std::optional<Tensor>(z * 1), "name", Tensor());
      CHECK(torch::equal(out.index, torch::tensor({3, 1})));
      CHECK_FALSE(out.index.requires_grad());
      CHECK(torch::equal(count[0], torch::tensor(7)));
      CHECK_FALSE(count[1].defined());
      CHECK(out.value.requires_grad());
      return out.value.square().sum() + out.rest[0].sum();
    });
    SUBCASE("of some results nothing is used") {
      compare({x, y}, [&](auto run) {
        return std::get<1>(
                   run([](Tensor a, Tensor b) { return std::tuple(a.exp(), b.sin()); }, x, y))
            .sum();
      });
    }
    SUBCASE("arguments are kept as they were passed") {
      int runs = 0;
      std::vector<double> factors{2, 3};
      auto function = [&runs, own = 0](std::vector<double>& f, Tensor v) mutable {
        ++runs;
        CHECK(++own == 1);
        CHECK(f.size() == 2);
        f.push_back(5);
        return v * f[1];
      };
      const Tensor result = checkpoint(function, factors, x);
      CHECK(factors.size() == 3);  // the caller's own, changed by the first run
      factors = {0};
      result.sum().backward();
      CHECK(runs == 2);
      CHECK(torch::equal(x.grad(), torch::full_like(x, 3)));
    }
  }

  TEST_CASE("activations are not kept, and freed after backward") {
    nn::Sequential net;
    for (int i = 0; i < 8; ++i) {
      net->push_back(Block(64));
    }
    const Tensor x = leaf({50, 64});
    const std::int64_t activation = 50 * 64 * 8;
    const auto train = [&](bool checkpointed, auto measure) {
      Tensor y = x;
      for (auto& block : *net) {
        auto& own = *block.ptr()->as<Block>();
        y = checkpointed ? checkpoint(own, y) : own.forward(y);
      }
      measure();
      y.sum().backward();
    };
    train(false, [] {});  // gradients are there now
    const support::CountedMemory bytes;
    std::int64_t kept = 0, kept_without = 0;
    train(false, [&] { kept_without = bytes.live(); });
    CHECK(kept_without >= 8 * 9 * activation);
    CHECK(bytes.live() == 0);
    train(true, [&] { kept = bytes.live(); });
    CHECK(kept >= 7 * activation);
    CHECK(kept <= 8 * activation + 1000);
    CHECK(bytes.live() == 0);
  }

  TEST_CASE("random numbers: kept where drawn, left alone on demand") {
    const Tensor x = leaf({2, 6});
    Block block;
    block->train();
    const support::CountedMemory bytes;
    {
      Block calm;
      const Tensor y = checkpoint(calm, x);
      CHECK(bytes.live() < 3000);  // a state has 5056
    }
    Tensor y = checkpoint({.preserve_rng = false, .check = false}, block, x);
    torch::manual_seed(9);
    const Tensor next = torch::rand({2});
    torch::manual_seed(9);
    torch::rand({2});
    y.sum().backward();  // draws anew
    CHECK_FALSE(torch::equal(torch::rand({2}), next));
  }

  TEST_CASE("autocast and the default dtype are those of the first run") {
    const Tensor x = torch::randn({4, 6}, torch::requires_grad());
    nn::Linear layer(6, 6);
    std::vector<Tensor> leaves = layer->parameters();
    leaves.push_back(x);
    const auto loss = [&](auto run) {
      const bool enabled = at::autocast::is_autocast_enabled(at::kCPU);
      at::autocast::set_autocast_enabled(at::kCPU, true);
      at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
      at::autocast::increment_nesting();
      c10::set_default_dtype(caffe2::TypeMeta::Make<double>());
      const Tensor before = layer(x);  // outside the function, with casts of its own
      Tensor y = run(
          [&](const Tensor& in) {
            CHECK(at::autocast::is_autocast_enabled(at::kCPU));
            const Tensor out = layer(layer(in));
            CHECK((out.scalar_type() == torch::kBFloat16));
            CHECK((torch::ones({1}).scalar_type() == torch::kDouble));
            return out;
          },
          x);
      y = layer(y) + before;
      c10::set_default_dtype(caffe2::TypeMeta::Make<float>());
      if (at::autocast::decrement_nesting() == 0) {
        at::autocast::clear_cache();
      }
      at::autocast::set_autocast_enabled(at::kCPU, enabled);
      CHECK((y.scalar_type() == torch::kBFloat16));
      return y.to(torch::kFloat).square().sum();
    };
    const auto plain = [](auto&& function, auto&&... args) { return function(args...); };
    loss(plain).backward();
    const std::vector<Tensor> expected = grads_of(leaves);
    int accumulations = 0;
    // Of Linear autocast keeps the cast of the bias.
    const auto hook = layer->bias.register_hook([&](const Tensor&) { ++accumulations; });
    loss([](auto&& function, auto&&... args) { return checkpoint(function, args...); }).backward();
    CHECK(accumulations == 1);  // all casts inside belong to the function's own graph
    layer->bias.remove_hook(hook);
    const std::vector<Tensor> got = grads_of(leaves);
    for (std::size_t i = 0; i < leaves.size(); ++i) {
      // Casts of one weight are added up in bfloat16 where they are shared.
      CHECK(torch::allclose(got[i], expected[i], 3e-2, 3e-2));
    }
    CHECK_FALSE(at::autocast::is_autocast_enabled(at::kCPU));
    CHECK((torch::ones({1}).scalar_type() == torch::kFloat));
  }

  TEST_CASE("where no gradient is to come it is a plain call") {
    Block block;
    const Tensor x = leaf({2, 6});
    {
      const torch::NoGradGuard no_grad;
      CHECK_FALSE(checkpoint(block, x).requires_grad());
    }
    {
      const c10::InferenceMode inference;
      CHECK(checkpoint(block, x).is_inference());
    }
    for (const Tensor& parameter : block->parameters()) {
      parameter.requires_grad_(false);
    }
    CHECK_FALSE(checkpoint(block, x.detach()).requires_grad());
    const Tensor cut = checkpoint([](const Tensor& y) { return y.detach() * 2; }, x);
    CHECK_FALSE(cut.requires_grad());
    {
      const Tensor inside = checkpoint(
          [&](const Tensor& y) {
            const torch::NoGradGuard no_grad;
            return block(y);
          },
          x);
      CHECK_FALSE(inside.requires_grad());
    }
    const Tensor y = checkpoint(block, x);  // only x
    y.sum().backward();
    CHECK(x.grad().defined());
    CHECK_FALSE(block->up->weight.grad().defined());
  }

  TEST_CASE("grad(), inputs = and retain_graph give what they give without") {
    Block block;
    const Tensor x = leaf({2, 6});
    const Tensor weight = block->up->weight;
    const auto grads = [&](const Tensor& y) {
      return torch::autograd::grad({(y * weight.sum()).sum()}, {x, weight, block->down->bias});
    };
    check_same(grads(checkpoint(block, x * 2)), grads(block(x * 2)));
    CHECK_FALSE(weight.grad().defined());

    checkpoint(block, x * 2).sum().backward({}, false, false, std::vector{weight});
    CHECK_FALSE(x.grad().defined());
    CHECK_FALSE(block->down->weight.grad().defined());
    const std::vector<Tensor> one = grads_of({weight});
    block(x * 2).sum().backward();
    check_same(one, grads_of({weight}));
    grads_of(block->parameters());
    grads_of({x});

    const Tensor y = checkpoint(block, x);
    y.sum().backward({}, /*retain_graph=*/true);
    const Tensor once = weight.grad().clone();
    y.sum().backward();
    CHECK(torch::equal(weight.grad(), once * 2));
    CHECK_THROWS_WITH_AS(y.sum().backward(), doctest::Contains("second time"), RoutingError);
  }

  TEST_CASE("hooks on a parameter run once, with its whole gradient") {
    Block block;
    const Tensor x = leaf({2, 6});
    int hooks = 0;
    Tensor seen;
    const auto hook = block->up->weight.register_hook([&](const Tensor& gradient) {
      ++hooks;
      seen = gradient.clone();
    });
    int inner = 0;
    const Tensor y = checkpoint(
        [&](const Tensor& in) {
          const Tensor hidden = block(in);
          hidden.register_hook([&](const Tensor&) { ++inner; });
          return block(hidden);
        },
        x);
    (checkpoint(block, y) + block(x)).sum().backward();
    CHECK(hooks == 1);
    CHECK(inner == 1);
    CHECK(torch::equal(seen, block->up->weight.grad()));
    block->up->weight.remove_hook(hook);
  }

  TEST_CASE("create_graph is refused") {
    Block block;
    const Tensor x = leaf({2, 6});
    const Tensor y = checkpoint(block, x).square().sum();
    CHECK_THROWS_WITH_AS(torch::autograd::grad({y}, {x}, {}, true, true),
                         doctest::Contains("create_graph"), RoutingError);
    y.backward();  // still there
    CHECK(x.grad().defined());
  }

  TEST_CASE_FIXTURE(support::LeaksNothing,
                    "what the function throws reaches the caller, and all is restored") {
    leaf({1}).sum().backward();
    const Tensor x = leaf({2, 6});
    const auto fails = [](const Tensor& y) -> Tensor {
      torch::rand({5});
      if (fabric::recomputing()) {
        throw std::invalid_argument("in backward");
      }
      return y * 2;
    };
    c10::set_default_dtype(caffe2::TypeMeta::Make<double>());
    const Tensor y = checkpoint(fails, x);
    c10::set_default_dtype(caffe2::TypeMeta::Make<float>());
    torch::manual_seed(4);
    CHECK_THROWS_WITH_AS(y.sum().backward(), "in backward", std::invalid_argument);
    CHECK_FALSE(fabric::recomputing());
    CHECK(torch::GradMode::is_enabled());
    const Tensor drawn = torch::rand({2});
    torch::manual_seed(4);
    CHECK(torch::equal(torch::rand({2}), drawn));
    CHECK_THROWS_WITH_AS(
        checkpoint([](const Tensor&) -> Tensor { throw std::invalid_argument("at once"); }, x),
        "at once", std::invalid_argument);
    Block block;
    checkpoint(block, x).sum().backward();
    CHECK(x.grad().defined());
  }

  TEST_CASE("changes between the runs are found") {
    Block block;
    const Tensor x = leaf({2, 6});
    SUBCASE("an argument is changed by the function") {
      const auto twice = [](Tensor y) { return y.mul_(2) * 1; };
      CHECK_THROWS_WITH_AS(checkpoint(twice, x * 1),
                           doctest::Contains("argument tensor 0 in place"), MisconfigurationError);
      const auto counts = [](const Tensor& y, Tensor count) { return y * count.add_(1); };
      CHECK_THROWS_WITH_AS(checkpoint(counts, x, torch::zeros({1})),
                           doctest::Contains("argument tensor 1 in place"), MisconfigurationError);
    }
    SUBCASE("an argument is changed afterwards") {
      Tensor mask = torch::ones({6});
      const Tensor y = checkpoint([](const Tensor& a, const Tensor& b) { return a * b; }, x, mask);
      mask.zero_();
      CHECK_THROWS_WITH_AS(y.sum().backward(), doctest::Contains("argument tensor 1 was changed"),
                           MisconfigurationError);
    }
    SUBCASE("a parameter is changed afterwards") {
      const auto changed = [&](fabric::CheckpointOptions options) {
        const Tensor y = checkpoint(options, block, x);
        const torch::NoGradGuard no_grad;
        block->up->weight.mul_(2);
        return y;
      };
      CHECK_THROWS_WITH_AS(changed({}).sum().backward(),
                           doctest::Contains("a parameter of shape [24, 6] was changed"),
                           MisconfigurationError);
      CHECK_NOTHROW(changed({.check = false}).sum().backward());
    }
    SUBCASE("dropout is switched off") {
      block->train();
      const Tensor y = checkpoint(block, x);
      block->eval();
      CHECK_THROWS_WITH_AS(y.sum().backward(), doctest::Contains("number of random numbers"),
                           MisconfigurationError);
      const Tensor z = checkpoint({.check = false}, block, x);
      block->train();
      CHECK_NOTHROW(z.sum().backward());
    }
    SUBCASE("shapes, dtypes and gradients of results") {
      int what = 0;
      const auto function = [&](const Tensor& a) {
        switch (what) {
          case 1:
            return a.sum(0);
          case 2:
            return a.to(torch::kFloat);
          case 3:
            return a.detach() * 2;
          default:
            return a * 2;
        }
      };
      const char* texts[] = {"", "got Double [6]; expected Double [2, 6]",
                             "got Float [2, 6]; expected Double [2, 6]",
                             "got Double [2, 6] without gradient; expected Double [2, 6]"};
      for (const int kind : {1, 2, 3}) {
        what = 0;
        const Tensor y = checkpoint(function, x);
        what = kind;
        CHECK_THROWS_WITH_AS(y.sum().backward(), doctest::Contains(texts[kind]),
                             MisconfigurationError);
      }
      what = 0;
      const Tensor y = checkpoint({.check = false}, function, x);
      what = 3;
      CHECK_THROWS_AS(y.sum().backward(), MisconfigurationError);  // cannot work
    }
    SUBCASE("the number of results") {
      std::size_t count = 2;
      const auto function = [&](const Tensor& a) { return std::vector<Tensor>(count, a * 2); };
      const auto y = checkpoint({.check = false}, function, x);
      count = 3;
      CHECK_THROWS_WITH_AS(y[0].sum().backward(), doctest::Contains("got 3; expected 2"),
                           MisconfigurationError);
    }
    SUBCASE("other parameters") {
      Block other;
      bool switched = false;
      const auto function = [&](const Tensor& a) { return switched ? a * 2 : other(a); };
      const Tensor y = checkpoint(function, x);
      switched = true;
      CHECK_THROWS_WITH_AS(y.sum().backward(), doctest::Contains("other parameters"),
                           MisconfigurationError);
    }
    SUBCASE("a variable that is captured by reference and assigned") {
      Tensor h = x * 1;
      h = checkpoint([&] { return block(h); });
      CHECK_THROWS_WITH_AS(h.sum().backward(), doctest::Contains("capture them by value"),
                           MisconfigurationError);
    }
  }

  TEST_CASE("an activation that the function stores elsewhere keeps its gradients") {
    Block block;
    const Tensor x = leaf({2, 6});
    Tensor stored;
    const auto function = [&](const Tensor& y) {
      const Tensor hidden = block(y);
      if (!fabric::recomputing()) {
        stored = hidden;
      }
      return hidden.tanh();
    };
    const Tensor result = checkpoint(function, x * 2);
    (result.sum() + stored.square().sum()).backward();
    std::vector<Tensor> leaves = block->parameters();
    leaves.push_back(x);
    const std::vector<Tensor> got = grads_of(leaves);
    const Tensor hidden = block(x * 2);
    (hidden.tanh().sum() + hidden.square().sum()).backward();
    const std::vector<Tensor> expected = grads_of(leaves);
    for (std::size_t i = 0; i < got.size(); ++i) {
      CHECK(torch::allclose(got[i], expected[i]));
    }
  }

  TEST_CASE("a leaf that the function makes is no parameter") {
    const Tensor x = leaf({3});
    compare({x}, [&](auto run) {
      return run([](const Tensor& y) { return y * torch::ones({3}, torch::requires_grad()); }, x)
          .sum();
    });
  }

  TEST_CASE("running statistics are updated once") {
    const auto make = [] {
      nn::Sequential net(nn::Linear(4, 5), nn::BatchNorm1d(5));
      net->to(torch::kDouble);
      return net;
    };
    nn::Sequential plain = support::with_seed(1, make), net = support::with_seed(1, make);
    const Tensor x = randn({7, 4});
    for (int step = 0; step < 2; ++step) {
      plain->forward(x).square().sum().backward();
      checkpoint(net, x).square().sum().backward();
    }
    for (std::size_t i = 0; i < plain->buffers().size(); ++i) {
      CHECK(torch::equal(net->buffers()[i], plain->buffers()[i]));
    }
    CHECK(support::distance(grads_of(net->parameters()), grads_of(plain->parameters())) == 0);
  }

  TEST_CASE("backward on other threads") {
    Block block;
    const Tensor x = leaf({2, 6});
    const Tensor y = checkpoint(block, x * 2);
    std::thread([&] { y.sum().backward(); }).join();
    CHECK(block->again == 1);
    const Tensor got = x.grad().clone();
    x.mutable_grad().reset();
    block(x * 2).sum().backward();
    CHECK(torch::equal(x.grad(), got));
  }

  TEST_CASE("many in a row, and deeply nested ones") {
    const Tensor x = leaf({3});
    Tensor y = x;
    for (int i = 0; i < 200; ++i) {
      y = checkpoint([](const Tensor& a) { return a * 1.001; }, y);
    }
    y.sum().backward();
    CHECK(torch::allclose(x.grad(), torch::full_like(x, std::pow(1.001, 200))));
    x.mutable_grad().reset();
    std::function<Tensor(const Tensor&, int)> nest = [&](const Tensor& a, int depth) {
      return depth == 0 ? a.exp() : checkpoint(nest, a * 1.0, depth - 1);
    };
    nest(x, 8).sum().backward();
    CHECK(torch::allclose(x.grad(), x.detach().exp()));
  }

  TEST_CASE("nothing is kept alive by a graph that has gone") {
    std::weak_ptr<BlockImpl> weak;
    {
      const auto module = std::make_shared<BlockImpl>();
      weak = module;
      const Tensor y = checkpoint(module, leaf({2, 6}));
      const Tensor z = checkpoint(module, leaf({2, 6}));
      z.sum().backward();
    }
    CHECK(weak.expired());
  }
}

TEST_SUITE("fabric.activation_checkpoint.setup") {
  TEST_CASE("checkpoint chooses modules of a model") {
    struct Net : nn::Module {
      Net()
          : blocks(register_module("blocks", nn::ModuleList(Block(), Block()))),
            head(register_module("head", nn::Sequential(Block()))) {}
      Tensor forward(Tensor x) {
        for (auto& block : *blocks) {
          x = checkpoint(block->as<Block>(), x);
        }
        x = checkpoint(head, x);
        return checkpoint([](const Tensor& y) { return y * 2; }, x);
      }
      std::vector<int> step(fabric::Fabric& fabric, fabric::CheckpointChoice choice) {
        auto model = fabric.setup(this->ptr(), {.checkpoint = choice});
        fabric.backward(model->forward(leaf({2, 6})).sum());
        return {counts(*blocks[0]), counts(*blocks[1]), counts(*head[0])};
      }
      std::shared_ptr<Net> ptr() { return std::dynamic_pointer_cast<Net>(shared_from_this()); }
      static int counts(nn::Module& block) { return block.as<Block>()->again; }
      nn::ModuleList blocks;
      nn::Sequential head;
    };
    fabric::Fabric fabric;
    const auto train = [&](fabric::CheckpointChoice choice) {
      return std::make_shared<Net>()->step(fabric, choice);
    };
    CHECK(train({}) == std::vector{1, 1, 1});
    CHECK(train("all") == std::vector{1, 1, 1});
    CHECK(train("none") == std::vector{0, 0, 0});
    CHECK(train({"Block"}) == std::vector{1, 1, 0});
    CHECK(train({"blocks.1", "head"}) == std::vector{0, 1, 1});
    CHECK(train(std::vector<std::string>{"Sequential"}) == std::vector{0, 0, 1});
    CHECK(train(fabric::checkpoint_where([](const std::string& name, const nn::Module&) {
            return name == "blocks.0";
          })) == std::vector{1, 0, 0});
    CHECK_THROWS_WITH_AS(train({"Missing"}), doctest::Contains("no module of Net"),
                         MisconfigurationError);
    CHECK_THROWS_AS(train({"Block", ""}), MisconfigurationError);
    CHECK_THROWS_AS(train(std::vector<std::string>{}), MisconfigurationError);
    torch::jit::Module script("script");
    script.define("def forward(self, x):\n  return x\n");
    CHECK_THROWS_WITH_AS(fabric.setup(script, {.checkpoint = "none"}),
                         doctest::Contains("TorchScript"), MisconfigurationError);
    CHECK_NOTHROW(fabric.setup(script));
  }

  TEST_CASE("a choice ends with its model") {
    const Tensor x = leaf({2, 6});
    Block block;
    {
      fabric::Fabric fabric;
      fabric.setup(block, {.checkpoint = "none"});
      CHECK(checkpoint(block, x).grad_fn()->name() != "fabric::Checkpoint");
    }
    CHECK(checkpoint(block, x).grad_fn()->name() == "fabric::Checkpoint");
  }

  TEST_CASE("uses count where the function ran first: unrouted = error") {
    fabric::Fabric fabric({.unrouted = "error"});
    Block net;
    auto model = fabric.setup(net);
    const Tensor x = leaf({2, 6});
    const Tensor inside = fabric.routed([&] { return checkpoint(net, x); }, model);
    CHECK_NOTHROW(inside.sum().backward());
    CHECK(net->again == 1);
    CHECK_THROWS_WITH_AS(checkpoint(net, x), doctest::Contains("outside a routed call"),
                         RoutingError);
    CHECK_NOTHROW(checkpoint(model, x).sum().backward());
    CHECK_NOTHROW(checkpoint(
        [&](const Tensor& y) {
          const torch::NoGradGuard no_grad;  // reads a value
          return y * net->up->weight.norm();
        },
        x));
  }

  TEST_CASE("uses count where the function ran first: unrouted = warn") {
    bool plain = false;
    SUBCASE("loss.backward()") {
      plain = true;
    }
    SUBCASE("fabric.backward(loss)") {}
    fabric::Fabric fabric({.precision = "bf16-mixed"});
    MLP net;
    auto model = fabric.setup(net);
    const Tensor x = torch::randn({2, 6});
    const auto backward = [&](const Tensor& loss) {
      plain ? loss.backward() : fabric.backward(loss);
    };
    {
      const CapturedLog log;
      backward(fabric.routed([&] { return checkpoint(net, x); }, model).sum());
      CHECK(log.text().empty());
    }
    const CapturedLog log;
    backward(checkpoint(net, x).sum());
    CHECK(log.text().find("outside a routed call") != std::string::npos);
    backward(checkpoint(net, x).sum());
    CHECK(log.text().find("outside a routed call") == log.text().rfind("outside a routed call"));
  }

  TEST_CASE("calls through the model inside the function are what they were") {
    for (const char* precision : {"32-true", "64-true", "bf16-mixed"}) {
      CAPTURE(precision);
      fabric::Fabric fabric({.precision = std::string(precision)});
      MLP net;
      auto model = fabric.setup(net);
      // What a function captures is not converted.
      const Tensor x = randn({2, 6}).to(fabric.precision() == "64-true" ? at::kDouble : at::kFloat);
      Tensor first, second;
      const auto function = [&](const Tensor& y) {
        const Tensor out = model->forward(y);
        (fabric::recomputing() ? second : first) = out.detach();
        return out;
      };
      std::vector<std::vector<Tensor>> gradients;
      for (const bool checkpointed : {false, true}) {
        for (const bool routed : {false, true}) {
          const auto call = [&] { return checkpointed ? checkpoint(function, x) : function(x); };
          const Tensor y = routed ? fabric.routed(call, model) : call();
          fabric.backward(y.square().sum());
          gradients.push_back(grads_of(net->parameters()));
          if (checkpointed) {
            CHECK((first.scalar_type() == second.scalar_type()));
            CHECK(torch::equal(first, second));
          }
        }
      }
      check_same(gradients[2], gradients[0]);
      check_same(gradients[3], gradients[1]);
    }
  }
}
