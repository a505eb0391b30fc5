// What sentences mean, as vectors: all-MiniLM-L6-v2 with the weights that its Python package ships.
//
//     ./sentence_embedding <folder with model.safetensors and vocab.txt>
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include <torch/torch.h>

#include <fabric/fabric.h>

#include "bert.h"
#include "wordpiece.h"

using torch::Tensor;

struct Batch {
  Tensor ids, mask;  // [sentences, pieces of the longest]
};

Batch batch_of(const WordPiece& tokenizer, const std::vector<std::string>& sentences) {
  std::vector<Tensor> rows;
  for (const std::string& sentence : sentences) {
    rows.push_back(torch::tensor(tokenizer(sentence)));
  }
  // Padding is piece 0, which no sentence has.
  const Tensor ids = torch::nn::utils::rnn::pad_sequence(rows, /*batch_first=*/true);
  return {ids, ids != 0};
}

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr,
                 "usage: sentence_embedding <folder with model.safetensors and vocab.txt>\n");
    return 2;
  }
  const std::string folder = argv[1];
  fabric::Fabric fabric;
  fabric.launch(argc, argv);

  auto model = fabric.setup(SentenceEncoder());
  fabric.load(folder + "/model.safetensors", model);  // every key of the file is one of the model

  const std::vector<std::string> sentences = {
      "The cat sits on the mat.",
      "A feline is resting on a rug.",
      "She plays the cello in an orchestra.",
      "He practises the violin every day.",
      "The stock market fell sharply today.",
      "Share prices dropped a lot this morning.",
  };
  const Batch batch = batch_of(WordPiece(folder + "/vocab.txt"), sentences);
  const Tensor vectors = model->embed(batch.ids, batch.mask);
  const Tensor similarity = vectors.mm(vectors.t()).cpu();

  for (std::size_t i = 0; i < sentences.size(); ++i) {
    std::string line;
    for (std::size_t k = 0; k < sentences.size(); ++k) {
      char number[16];
      std::snprintf(number, sizeof(number), "%7.3f",
                    similarity[static_cast<int64_t>(i)][static_cast<int64_t>(k)].item<float>());
      line += number;
    }
    fabric.print(line, "  ", sentences[i]);
  }
}
