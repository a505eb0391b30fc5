#include <doctest/doctest.h>

#include <string>
#include <vector>

#include <torch/torch.h>

#include <fabric/fabric.h>

#include <examples/sentence_embedding/bert.h>
#include <examples/sentence_embedding/wordpiece.h>
#include <tests/baselines/embedding_baseline.h>

namespace {

const std::string kFolder = FABRIC_MINILM;

}  // namespace

TEST_SUITE("example.sentence_embedding") {
  TEST_CASE("texts of many scripts become the pieces that Python has") {
    const WordPiece tokenizer(kFolder + "/vocab.txt");
    for (const BaselinePieces& baseline : kBaselinePieces) {
      CAPTURE(baseline.text);
      CHECK(tokenizer(baseline.text) == baseline.ids);
    }
    CHECK(kBaselinePieces.size() > 100);
  }

  TEST_CASE("what is not UTF-8 is left out, and long texts are cut") {
    const WordPiece tokenizer(kFolder + "/vocab.txt");
    CHECK(tokenizer("a\xff b\xc3") == tokenizer("a b"));
    std::string words;
    for (int i = 0; i < 300; ++i) {
      words += "word ";
    }
    CHECK(tokenizer(words).size() == 256);
    CHECK(tokenizer(words, 8).size() == 8);
    CHECK(tokenizer(words, 8).back() == tokenizer("")[1]);
  }

  TEST_CASE("vectors are those of Python") {
    SentenceEncoder net;
    fabric::load(kFolder + "/model.safetensors", net);
    fabric::Fabric fabric;
    fabric.launch();
    auto model = fabric.setup(net);
    std::vector<torch::Tensor> rows;
    for (std::size_t i = 0; i < kBaselineVectors.size(); ++i) {
      rows.push_back(torch::tensor(kBaselinePieces[i].ids));
    }
    const torch::Tensor ids = torch::nn::utils::rnn::pad_sequence(rows, /*batch_first=*/true);
    const torch::Tensor vectors = model->embed(ids, ids != 0);
    const torch::Tensor similarities = vectors.mm(vectors.t());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      CAPTURE(i);
      const auto row = static_cast<int64_t>(i);
      const torch::Tensor expected = torch::tensor(kBaselineVectors[i]);
      CHECK((vectors[row].slice(0, 0, 384, 16) - expected).abs().max().item<double>() < 1e-5);
      const torch::Tensor products = torch::tensor(kBaselineSimilarities[i]);
      CHECK((similarities[row] - products).abs().max().item<double>() < 1e-5);
      // Alone, without padding, the same.
      const torch::Tensor alone = rows[i].unsqueeze(0);
      CHECK((model->embed(alone, alone != 0)[0] - vectors[row]).abs().max().item<double>() < 1e-5);
    }
  }
}
