// The small network of the benchmarks: 64-64-10 with a ReLU.
#pragma once

#include <torch/torch.h>

struct MlpImpl : torch::nn::Module {
  MlpImpl()
      : first(register_module("first", torch::nn::Linear(64, 64))),
        second(register_module("second", torch::nn::Linear(64, 10))) {}
  torch::Tensor forward(const torch::Tensor& x) { return second(torch::relu(first(x))); }

  torch::nn::Linear first;
  torch::nn::Linear second;
};
TORCH_MODULE(Mlp);
