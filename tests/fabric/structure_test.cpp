#include <doctest/doctest.h>

#include <fabric/structure.h>
#include <torch/types.h>

#include <string>

namespace {

struct Target {
  torch::Tensor label;
  std::optional<torch::Tensor> weight;
};
struct Batch {
  torch::Tensor image;
  Target target;
  std::vector<std::string> names;
  int epoch = 0;
};

template <class T>
int count_tensors(const T& value) {
  int count = 0;
  fabric::visit_leaves(value, [&](const auto& leaf) {
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(leaf)>, at::Tensor>) {
      ++count;
    }
  });
  return count;
}

torch::Tensor doubled(const torch::Tensor& tensor) {
  return tensor * 2;
}

}  // namespace

TEST_SUITE("fabric.structure") {
  TEST_CASE("finds the tensors of every structure") {
    const auto t = torch::ones({1});
    CHECK(count_tensors(t) == 1);
    CHECK(count_tensors(std::optional<torch::Tensor>()) == 0);
    CHECK(count_tensors(std::vector<torch::Tensor>{t, t}) == 2);
    CHECK(count_tensors(std::array<torch::Tensor, 3>{t, t, t}) == 3);
    CHECK(count_tensors(std::list<torch::Tensor>{t}) == 1);
    CHECK(count_tensors(std::deque<torch::Tensor>{t}) == 1);
    CHECK(count_tensors(std::map<std::string, torch::Tensor>{{"a", t}, {"b", t}}) == 2);
    CHECK(count_tensors(std::unordered_map<int, torch::Tensor>{{1, t}}) == 1);
    CHECK(count_tensors(std::pair<int, torch::Tensor>{1, t}) == 1);
    CHECK(count_tensors(std::tuple<torch::Tensor, float, torch::Tensor>{t, 0.5f, t}) == 2);
    CHECK(count_tensors(torch::data::Example<>{t, t}) == 2);
    CHECK(count_tensors(torch::data::TensorExample{t}) == 1);
    CHECK(count_tensors(Batch{t, {t, t}, {"x"}, 3}) == 3);
    CHECK(count_tensors(std::vector<std::map<int, Batch>>{{{1, Batch{t, {t, {}}, {}, 0}}}}) == 2);
    CHECK(count_tensors(std::vector<bool>{true, false}) == 0);
    CHECK(count_tensors(5) == 0);
    CHECK(count_tensors(std::string("text")) == 0);
  }

  TEST_CASE("maps tensors and leaves the rest") {
    const Batch batch{torch::ones({2}), {torch::ones({1}), torch::ones({3})}, {"cat", "dog"}, 7};
    const Batch mapped = fabric::map_tensors(batch, doubled);
    CHECK(mapped.image.sum().item<double>() == 4.0);
    CHECK(mapped.target.label.item<double>() == 2.0);
    CHECK(mapped.target.weight->sum().item<double>() == 6.0);
    CHECK(mapped.names == std::vector<std::string>{"cat", "dog"});
    CHECK(mapped.epoch == 7);
    CHECK(batch.image.sum().item<double>() == 2.0);  // the original is untouched
  }

  TEST_CASE("undefined tensors stay undefined") {
    const auto mapped =
        fabric::map_tensors(std::vector<torch::Tensor>{{}, torch::ones({1})}, doubled);
    CHECK(!mapped[0].defined());
    CHECK(mapped[1].item<double>() == 2.0);
  }

  TEST_CASE("leaves come in order and can be changed") {
    std::tuple<int, std::vector<int>, std::map<int, int>> value{1, {2, 3}, {{0, 4}, {1, 5}}};
    std::vector<int> order;
    fabric::visit_leaves(value, [&](int& leaf) {
      order.push_back(leaf);
      leaf = -leaf;
    });
    CHECK(order == std::vector<int>{1, 2, 3, 4, 5});
    CHECK(std::get<1>(value) == std::vector<int>{-2, -3});
    CHECK(std::get<2>(value).at(1) == -5);
  }
}
