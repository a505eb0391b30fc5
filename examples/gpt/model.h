// A decoder-only transformer, as GPT-2 is one: the example's, and the benchmark's.
#pragma once

#include <algorithm>

#include <fabric/fabric.h>
#include <torch/torch.h>

struct GPTOptions {
  int64_t letters = 0;
  int64_t context = 64;
  int64_t width = 128;
  int64_t heads = 4;
  int64_t layers = 4;
};

struct BlockImpl : torch::nn::Module {
  explicit BlockImpl(const GPTOptions& o)
      : heads(o.heads),
        norm1(
            register_module("norm1", torch::nn::LayerNorm(torch::nn::LayerNormOptions({o.width})))),
        qkv(register_module("qkv", torch::nn::Linear(o.width, 3 * o.width))),
        out(register_module("out", torch::nn::Linear(o.width, o.width))),
        norm2(
            register_module("norm2", torch::nn::LayerNorm(torch::nn::LayerNormOptions({o.width})))),
        up(register_module("up", torch::nn::Linear(o.width, 4 * o.width))),
        down(register_module("down", torch::nn::Linear(4 * o.width, o.width))) {}

  torch::Tensor forward(torch::Tensor x) {  // (batch, time, width)
    auto split = [&](const torch::Tensor& t) {
      return t.unflatten(-1, {heads, t.size(-1) / heads}).transpose(1, 2);
    };
    auto parts = qkv(norm1(x)).chunk(3, -1);
    auto mixed = torch::scaled_dot_product_attention(split(parts[0]), split(parts[1]),
                                                     split(parts[2]), {}, 0.0, /*is_causal=*/true);
    x = x + out(mixed.transpose(1, 2).flatten(2));
    return x + down(torch::gelu(up(norm2(x))));
  }

  int64_t heads;
  torch::nn::LayerNorm norm1;
  torch::nn::Linear qkv, out;
  torch::nn::LayerNorm norm2;
  torch::nn::Linear up, down;
};
TORCH_MODULE(Block);

struct GPTImpl : torch::nn::Module {
  explicit GPTImpl(const GPTOptions& options)
      : o(options),
        letter(register_module("letter", torch::nn::Embedding(o.letters, o.width))),
        position(register_module("position", torch::nn::Embedding(o.context, o.width))),
        blocks(register_module("blocks", torch::nn::ModuleList())),
        norm(
            register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({o.width})))) {
    for (int64_t i = 0; i < o.layers; ++i) {
      blocks->push_back(Block(o));
    }
    torch::NoGradGuard no_grad;
    letter->weight.normal_(0, 0.05);
    position->weight.normal_(0, 0.05);
  }

  /// The logits of the next letter: (batch, time, letters) from (batch, time) of long.
  torch::Tensor forward(const torch::Tensor& text) {
    auto x = letter(text) + position(torch::arange(text.size(1), text.options()));
    for (auto& block : *blocks) {
      x = block->as<Block>()->forward(x);
    }
    return torch::linear(norm(x), letter->weight);  // the embedding is the head as well
  }

  FABRIC_INFERENCE_ENTRY(sample, .grad = "off", .mode = "eval")
  torch::Tensor sample(torch::Tensor text, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      auto recent = text.narrow(1, std::max<int64_t>(0, text.size(1) - o.context),
                                std::min(text.size(1), o.context));
      auto chances = torch::softmax(forward(recent).select(1, -1) / 0.8, -1);
      text = torch::cat({text, torch::multinomial(chances, 1)}, 1);
    }
    return text;
  }

  GPTOptions o;
  torch::nn::Embedding letter, position;
  torch::nn::ModuleList blocks;
  torch::nn::LayerNorm norm;
};
TORCH_MODULE(GPT);
