// all-MiniLM-L6-v2: a BERT encoder of six layers whose mean over the words of a sentence says what
// the sentence means. Modules have the names of the checkpoint's keys, so that it fits as it is.
#pragma once

#include <cstdint>
#include <vector>

#include <torch/torch.h>

#include <fabric/inference_entry.h>

struct BertOptions {
  int64_t vocabulary = 30522;
  int64_t positions = 512;
  int64_t hidden = 384;
  int64_t intermediate = 1536;
  int64_t layers = 6;
  int64_t heads = 12;
  double norm_eps = 1e-12;
  double dropout = 0.1;
};

namespace bert {

using torch::Tensor;
using torch::nn::Dropout;
using torch::nn::Embedding;
using torch::nn::LayerNorm;
using torch::nn::Linear;

inline LayerNorm norm(const BertOptions& o) {
  return LayerNorm(torch::nn::LayerNormOptions({o.hidden}).eps(o.norm_eps));
}

struct EmbeddingsImpl : torch::nn::Module {
  explicit EmbeddingsImpl(const BertOptions& o)
      : words(register_module("word_embeddings", Embedding(o.vocabulary, o.hidden))),
        positions(register_module("position_embeddings", Embedding(o.positions, o.hidden))),
        kinds(register_module("token_type_embeddings", Embedding(2, o.hidden))),
        layer_norm(register_module("LayerNorm", norm(o))),
        dropout(register_module("dropout", Dropout(o.dropout))),
        position_ids(register_buffer("position_ids", torch::arange(o.positions).unsqueeze(0))) {}

  Tensor forward(const Tensor& ids) {
    const Tensor first_kind = kinds->weight[0];  // one sentence at a time, no pairs
    return dropout(
        layer_norm(words(ids) + first_kind + positions(position_ids.narrow(1, 0, ids.size(1)))));
  }

  Embedding words, positions, kinds;
  LayerNorm layer_norm;
  Dropout dropout;
  Tensor position_ids;
};
TORCH_MODULE(Embeddings);

struct SelfAttentionImpl : torch::nn::Module {
  explicit SelfAttentionImpl(const BertOptions& o)
      : query(register_module("query", Linear(o.hidden, o.hidden))),
        key(register_module("key", Linear(o.hidden, o.hidden))),
        value(register_module("value", Linear(o.hidden, o.hidden))),
        heads(o.heads),
        dropout(o.dropout) {}

  // @param mask [sentences, 1, 1, pieces], false where there is only padding
  Tensor forward(const Tensor& x, const Tensor& mask) {
    const auto cut = [&](const Tensor& y) {  // [sentences, heads, pieces, hidden / heads]
      return y.view({y.size(0), y.size(1), heads, -1}).transpose(1, 2);
    };
    return torch::scaled_dot_product_attention(cut(query(x)), cut(key(x)), cut(value(x)), mask,
                                               is_training() ? dropout : 0.0)
        .transpose(1, 2)
        .flatten(2);
  }

  Linear query, key, value;
  int64_t heads;
  double dropout;
};
TORCH_MODULE(SelfAttention);

// What follows attention and the wide layer alike: back to the hidden size, added to what came in.
struct OutputImpl : torch::nn::Module {
  OutputImpl(int64_t inputs, const BertOptions& o)
      : dense(register_module("dense", Linear(inputs, o.hidden))),
        layer_norm(register_module("LayerNorm", norm(o))),
        dropout(register_module("dropout", Dropout(o.dropout))) {}

  Tensor forward(const Tensor& x, const Tensor& before) {
    return layer_norm(dropout(dense(x)) + before);
  }

  Linear dense;
  LayerNorm layer_norm;
  Dropout dropout;
};
TORCH_MODULE(Output);

struct AttentionImpl : torch::nn::Module {
  explicit AttentionImpl(const BertOptions& o)
      : self(register_module("self", SelfAttention(o))),
        output(register_module("output", Output(o.hidden, o))) {}

  Tensor forward(const Tensor& x, const Tensor& mask) { return output(self(x, mask), x); }

  SelfAttention self;
  Output output;
};
TORCH_MODULE(Attention);

struct IntermediateImpl : torch::nn::Module {
  explicit IntermediateImpl(const BertOptions& o)
      : dense(register_module("dense", Linear(o.hidden, o.intermediate))) {}

  Tensor forward(const Tensor& x) { return torch::gelu(dense(x)); }

  Linear dense;
};
TORCH_MODULE(Intermediate);

struct LayerImpl : torch::nn::Module {
  explicit LayerImpl(const BertOptions& o)
      : attention(register_module("attention", Attention(o))),
        intermediate(register_module("intermediate", Intermediate(o))),
        output(register_module("output", Output(o.intermediate, o))) {}

  Tensor forward(const Tensor& x, const Tensor& mask) {
    const Tensor attended = attention(x, mask);
    return output(intermediate(attended), attended);
  }

  Attention attention;
  Intermediate intermediate;
  Output output;
};
TORCH_MODULE(Layer);

struct EncoderImpl : torch::nn::Module {
  explicit EncoderImpl(const BertOptions& o) {
    torch::nn::ModuleList list;
    for (int64_t i = 0; i < o.layers; ++i) {
      list->push_back(layers.emplace_back(o));
    }
    register_module("layer", list);
  }

  Tensor forward(Tensor x, const Tensor& mask) {
    for (Layer& layer : layers) {
      x = layer(x, mask);
    }
    return x;
  }

  std::vector<Layer> layers;
};
TORCH_MODULE(Encoder);

// The checkpoint has weights for it; a mean over words does not use them.
struct PoolerImpl : torch::nn::Module {
  explicit PoolerImpl(const BertOptions& o)
      : dense(register_module("dense", Linear(o.hidden, o.hidden))) {}

  Tensor forward(const Tensor& x) { return torch::tanh(dense(x.select(1, 0))); }

  Linear dense;
};
TORCH_MODULE(Pooler);

}  // namespace bert

struct SentenceEncoderImpl : torch::nn::Module {
  explicit SentenceEncoderImpl(const BertOptions& o = {})
      : embeddings(register_module("embeddings", bert::Embeddings(o))),
        encoder(register_module("encoder", bert::Encoder(o))),
        pooler(register_module("pooler", bert::Pooler(o))) {}

  /// The state of each piece, [sentences, pieces, hidden].
  /// @param ids pieces by number, [sentences, pieces]
  /// @param mask true where there is a piece and not padding, of the same shape
  torch::Tensor forward(torch::Tensor ids, torch::Tensor mask) {
    return encoder(embeddings(ids), mask.unsqueeze(1).unsqueeze(1));
  }

  /// One vector of length 1 a sentence, [sentences, hidden]: the direction of its pieces' mean.
  FABRIC_INFERENCE_ENTRY(embed, .grad = "inference_mode", .mode = "eval")
  torch::Tensor embed(torch::Tensor ids, torch::Tensor mask) {
    const torch::Tensor states = forward(ids, mask);
    const torch::Tensor there = mask.unsqueeze(2).to(states.scalar_type());
    return torch::nn::functional::normalize((states * there).sum(1) / there.sum(1));
  }

  bert::Embeddings embeddings;
  bert::Encoder encoder;
  bert::Pooler pooler;
};
TORCH_MODULE(SentenceEncoder);
