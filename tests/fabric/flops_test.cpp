// Counted operations are those of PyTorch's counter, whatever runs them.
#include <doctest/doctest.h>

#include <functional>
#include <map>
#include <thread>

#include <torch/torch.h>

#include <fabric/fabric.h>
#include <fabric/flops.h>
#include <tests/baselines/flops_baseline.h>

namespace {

using torch::Tensor;
namespace nn = torch::nn;

Tensor leaf(std::vector<int64_t> sizes) {
  return torch::randn(sizes, torch::requires_grad());
}

// What make_flops_baseline.py runs, by name.
const std::map<std::string, std::function<Tensor()>> kCases = {
    {"mlp",
     [] {
       nn::Sequential net(nn::Linear(6, 16), nn::Tanh(), nn::Linear(16, 16), nn::ReLU(),
                          nn::Linear(nn::LinearOptions(16, 3).bias(false)));
       return net->forward(torch::randn({5, 7, 6}));
     }},
    {"convolutions",
     [] {
       nn::Sequential net(
           nn::Conv2d(nn::Conv2dOptions(4, 8, 3).stride(2).padding(1)), nn::ReLU(),
           nn::Conv2d(nn::Conv2dOptions(8, 8, 3).groups(4).dilation(2).padding(2)), nn::ReLU(),
           nn::ConvTranspose2d(nn::ConvTranspose2dOptions(8, 6, 3).stride(2).output_padding(1)));
       return net->forward(leaf({3, 4, 11, 9}));
     }},
    {"convolution_1d_3d",
     [] {
       nn::Conv1d one(nn::Conv1dOptions(3, 5, 4).padding(1));
       nn::Conv3d three(nn::Conv3dOptions(2, 3, {1, 3, 3}).padding(torch::kSame));
       return one(torch::randn({2, 3, 10})).sum() + three(torch::randn({2, 2, 4, 5, 6})).sum();
     }},
    {"bmm_attention",
     [] {
       const Tensor q = leaf({2, 4, 8, 16}), k = leaf({2, 4, 12, 16}), v = leaf({2, 4, 12, 16});
       return torch::softmax(q.matmul(k.transpose(-2, -1)) / 4, -1).matmul(v);
     }},
    {"fused_attention",
     [] {
       return at::scaled_dot_product_attention(leaf({2, 4, 8, 16}), leaf({2, 4, 12, 16}),
                                               leaf({2, 4, 12, 16}));
     }},
    {"math_attention",
     [] {
       const Tensor q = leaf({2, 4, 8, 16});
       const Tensor mask = torch::zeros({8, 8}, torch::requires_grad());
       return at::scaled_dot_product_attention(q, q, q, mask);
     }},
    {"einsum_and_baddbmm",
     [] {
       const Tensor a = leaf({3, 4, 5}), b = leaf({3, 5, 6}), c = leaf({4, 6});
       return torch::einsum("bij,bjk->bik", {a, b}).sum() + torch::baddbmm(c, a, b).sum() +
              torch::addmm(c, a[0], b[0]).sum();
     }},
    {"embedding_and_norm",
     [] {
       nn::Sequential net(nn::Embedding(20, 8), nn::LayerNorm(nn::LayerNormOptions({8})),
                          nn::Linear(8, 20));
       return net->forward(torch::randint(0, 20, {4, 9}, torch::kLong));
     }},
};

std::int64_t sum_of(const fabric::Flops& flops) {
  std::int64_t sum = 0;
  for (const fabric::OperatorFlops& each : flops.operators) {
    sum += each.flops;
  }
  return sum;
}

}  // namespace

TEST_SUITE("flops") {
  TEST_CASE("forward and backward count what PyTorch's counter counts") {
    CHECK(kFlopsBaseline.size() == kCases.size());
    for (const FlopsBaseline& python : kFlopsBaseline) {
      CAPTURE(python.name);
      Tensor loss;
      const fabric::FlopCounter both;
      const fabric::Flops forward =
          fabric::count_flops([&] { loss = kCases.at(python.name)().sum(); });
      CHECK(forward.total == python.forward);
      CHECK(sum_of(forward) == forward.total);
      loss.backward();
      CHECK(both.flops().total == python.all);
    }
  }

  TEST_CASE("nothing is counted outside, and nothing twice") {
    const Tensor a = torch::randn({4, 5}), b = torch::randn({5, 6});
    torch::mm(a, b);
    const fabric::Flops flops = fabric::count_flops([&] {
      torch::mm(a, b);
      Tensor out = torch::empty({4, 6});
      torch::mm_out(out, a, b);
      std::thread([&] { torch::mm(a, b); }).join();  // another thread's
    });
    REQUIRE(flops.operators.size() == 1);
    CHECK(flops.operators[0].name == "aten::mm");
    CHECK(flops.operators[0].calls == 2);
    CHECK(flops.total == 2 * 2 * 4 * 5 * 6);
    CHECK(flops.table().find("aten::mm") != std::string::npos);
    CHECK(fabric::count_flops([] {}).total == 0);
  }

  TEST_CASE("products with vectors and recurrent kernels count too") {
    const Tensor a = torch::randn({4, 5}), v = torch::randn({5});
    CHECK(fabric::count_flops([&] { torch::mv(a, v); }).total == 2 * 4 * 5);
    CHECK(fabric::count_flops([&] { torch::dot(v, v); }).total == 2 * 5);
    nn::LSTM lstm(nn::LSTMOptions(6, 8).num_layers(2));
    const Tensor x = torch::randn({5, 3, 6});
    Tensor y;
    // Gates by rows of weights, for 15 rows: whatever kernel runs it.
    const std::int64_t expected = 2 * 15 * 4 * 8 * ((6 + 8) + (8 + 8));
    CHECK(fabric::count_flops([&] { y = std::get<0>(lstm(x)); }).total == expected);
    CHECK(fabric::count_flops([&] { y.sum().backward(); }).total >= 2 * expected * 9 / 10);
  }

  TEST_CASE("a routed call of a set-up model counts alike, a checkpointed one its second run") {
    fabric::Fabric fabric;
    auto net = std::make_shared<nn::LinearImpl>(6, 4);
    const Tensor x = torch::randn({10, 6});
    const std::int64_t product = 2 * 10 * 6 * 4;
    auto model = fabric.setup(net);
    const fabric::Flops plain =
        fabric::count_flops([&] { fabric.backward(model.forward(x).sum()); });
    CHECK(plain.total == 2 * product);  // x needs no gradient
    const fabric::Flops again = fabric::count_flops([&] {
      fabric.backward(fabric::checkpoint(*net, leaf({10, 6})).sum());
    });
    CHECK(again.total == 4 * product);  // forward twice, gradients of weight and input
  }

  TEST_CASE("an operator that throws leaves the counter as it was") {
    const fabric::FlopCounter counter;
    CHECK_THROWS(torch::mm(torch::randn({2, 3}), torch::randn({2, 3})));
    const auto before = counter.flops().total;
    torch::mm(torch::randn({2, 3}), torch::randn({3, 4}));
    CHECK(counter.flops().total == before + 2 * 2 * 3 * 4);
  }
}
