// Models and loops that several tests train.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include <torch/torch.h>

namespace support {

struct MLPImpl : torch::nn::Module {
  explicit MLPImpl(int64_t inputs = 6, int64_t hidden = 16, int64_t outputs = 3)
      : first(register_module("first", torch::nn::Linear(inputs, hidden))),
        second(register_module("second", torch::nn::Linear(hidden, hidden))),
        third(register_module("third", torch::nn::Linear(hidden, outputs))) {}

  torch::Tensor forward(torch::Tensor x) {
    return third(torch::tanh(second(torch::tanh(first(x)))));
  }

  torch::nn::Linear first, second, third;
};
TORCH_MODULE(MLP);

/// The same weights on every call and every rank.
template <class Make>
auto with_seed(int64_t seed, Make make) {
  torch::manual_seed(seed);
  return make();
}

/// Rows of `whole` that belong to `rank`: an equal, contiguous part.
inline torch::Tensor part(const torch::Tensor& whole, int rank, int world) {
  const int64_t rows = whole.size(0) / world;
  return whole.narrow(0, rank * rows, rows);
}

/// The largest difference between the parameters of two models.
inline double distance(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  double largest = a.size() == b.size() ? 0 : 1e300;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    largest = std::max(largest, (a[i] - b[i]).abs().max().template item<double>());
  }
  return largest;
}

}  // namespace support
