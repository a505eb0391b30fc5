// A small GPT on the King James Bible, letter by letter: one source for one process, for ddp and for
// fsdp.
//
//   gpt TEXT [STEPS]                                             # one process
//   mpirun -np 2 gpt TEXT [STEPS]                                # ddp
//   FABRIC_STRATEGY="fsdp(units=Block)" mpirun -np 2 gpt TEXT    # every block sharded
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

#include <fabric/fabric.h>
#include <torch/torch.h>

using torch::Tensor;
namespace nn = torch::nn;

struct GPTOptions {
  int64_t letters = 0;
  int64_t context = 64;
  int64_t width = 128;
  int64_t heads = 4;
  int64_t layers = 4;
};

struct BlockImpl : nn::Module {
  explicit BlockImpl(const GPTOptions& o)
      : heads(o.heads),
        norm1(register_module("norm1", nn::LayerNorm(nn::LayerNormOptions({o.width})))),
        qkv(register_module("qkv", nn::Linear(o.width, 3 * o.width))),
        out(register_module("out", nn::Linear(o.width, o.width))),
        norm2(register_module("norm2", nn::LayerNorm(nn::LayerNormOptions({o.width})))),
        up(register_module("up", nn::Linear(o.width, 4 * o.width))),
        down(register_module("down", nn::Linear(4 * o.width, o.width))) {}

  Tensor forward(Tensor x) {  // (batch, time, width)
    auto split = [&](const Tensor& t) {
      return t.unflatten(-1, {heads, t.size(-1) / heads}).transpose(1, 2);
    };
    auto parts = qkv(norm1(x)).chunk(3, -1);
    auto mixed = torch::scaled_dot_product_attention(split(parts[0]), split(parts[1]),
                                                     split(parts[2]), {}, 0.0, /*is_causal=*/true);
    x = x + out(mixed.transpose(1, 2).flatten(2));
    return x + down(torch::gelu(up(norm2(x))));
  }

  int64_t heads;
  nn::LayerNorm norm1;
  nn::Linear qkv, out;
  nn::LayerNorm norm2;
  nn::Linear up, down;
};
TORCH_MODULE(Block);

struct GPTImpl : nn::Module {
  explicit GPTImpl(const GPTOptions& options)
      : o(options),
        letter(register_module("letter", nn::Embedding(o.letters, o.width))),
        position(register_module("position", nn::Embedding(o.context, o.width))),
        blocks(register_module("blocks", nn::ModuleList())),
        norm(register_module("norm", nn::LayerNorm(nn::LayerNormOptions({o.width})))) {
    for (int64_t i = 0; i < o.layers; ++i) {
      blocks->push_back(Block(o));
    }
    torch::NoGradGuard no_grad;
    letter->weight.normal_(0, 0.05);
    position->weight.normal_(0, 0.05);
  }

  /// The logits of the next letter: (batch, time, letters) from (batch, time) of long.
  Tensor forward(const Tensor& text) {
    auto x = letter(text) + position(torch::arange(text.size(1)));
    for (auto& block : *blocks) {
      x = block->as<Block>()->forward(x);
    }
    return torch::linear(norm(x), letter->weight);  // the embedding is the head as well
  }

  FABRIC_INFERENCE_ENTRY(sample, .grad = "off", .mode = "eval")
  Tensor sample(Tensor text, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      auto recent = text.narrow(1, std::max<int64_t>(0, text.size(1) - o.context),
                                std::min(text.size(1), o.context));
      auto chances = torch::softmax(forward(recent).select(1, -1) / 0.8, -1);
      text = torch::cat({text, torch::multinomial(chances, 1)}, 1);
    }
    return text;
  }

  GPTOptions o;
  nn::Embedding letter, position;
  nn::ModuleList blocks;
  nn::LayerNorm norm;
};
TORCH_MODULE(GPT);

/// Letters as numbers: their order among those that occur.
struct Text {
  explicit Text(const std::string& path) {
    std::ifstream file(path);
    std::string content((std::istreambuf_iterator<char>(file)), {});
    TORCH_CHECK(content.size() > 1000, "no text in ", path);
    for (int letter = 0; letter < 128; ++letter) {
      if (content.find(static_cast<char>(letter)) != std::string::npos) {
        letters += static_cast<char>(letter);
      }
    }
    std::vector<int64_t> codes;
    for (char c : content) {
      codes.push_back(static_cast<int64_t>(letters.find(c)));
    }
    data = torch::tensor(codes);
  }
  std::string decode(const Tensor& codes) const {
    std::string result;
    for (int64_t i = 0; i < codes.numel(); ++i) {
      result += letters[codes[i].item<int64_t>()];
    }
    return result;
  }
  std::string letters;
  Tensor data;
};

int main(int argc, char* argv[]) {
  if (argc < 2) {
    std::fputs("usage: gpt TEXT [STEPS]\n", stderr);
    return 2;
  }
  const int steps = argc > 2 ? std::stoi(argv[2]) : 300;
  fabric::Fabric fabric;
  fabric.launch(argc, argv);
  fabric::seed_everything(1);

  Text text(argv[1]);
  GPTOptions options{.letters = static_cast<int64_t>(text.letters.size())};
  auto model = fabric.setup(GPT(options));
  auto optimizer = fabric.setup_optimizers(
      torch::optim::AdamW(model->parameters(), torch::optim::AdamWOptions(2e-3)));

  // Every rank draws its own part of the same batch of 16.
  const int64_t batch = 16 / fabric.world_size();
  for (int step = 1; step <= steps; ++step) {
    auto starts = torch::randint(text.data.size(0) - options.context - 1, {16})
                      .narrow(0, fabric.global_rank() * batch, batch);
    auto at = starts.unsqueeze(1) + torch::arange(options.context + 1);
    auto rows = text.data.index({at});
    auto logits = model->forward(rows.narrow(1, 0, options.context));
    auto loss = nn::functional::cross_entropy(logits.flatten(0, 1),
                                              rows.narrow(1, 1, options.context).flatten());
    optimizer.zero_grad();
    fabric.backward(loss);
    optimizer.step();
    if (step % 50 == 0 || step == steps) {
      double mean = fabric.mean(loss.item<double>());
      fabric.printf("step %4d   loss %.3f\n", step, mean);
    }
  }
  auto begin = text.data.narrow(0, 0, 20).unsqueeze(0);
  fabric.print("\n", text.decode(model->sample(begin, 200)[0]));
}
