// A small GPT on the King James Bible, letter by letter: one source for one process, for ddp and
// for fsdp.
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

#include "model.h"

using torch::Tensor;
namespace nn = torch::nn;

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
