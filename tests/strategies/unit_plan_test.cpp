// How a model is cut into units.
#include <doctest/doctest.h>

#include <torch/torch.h>

#include <fabric/fabric.h>
#include <strategies/unit_plan.h>

namespace {

namespace nn = torch::nn;

struct BlockImpl : nn::Module {
  explicit BlockImpl(int64_t width)
      : mlp(register_module("mlp", nn::Sequential(nn::Linear(width, width), nn::ReLU(),
                                                  nn::Linear(width, width)))) {}
  nn::Sequential mlp;
};
TORCH_MODULE(Block);

struct NetImpl : nn::Module {
  explicit NetImpl(int64_t width)
      : embedding(register_module("embedding", nn::Embedding(10, width))),
        blocks(register_module("blocks", nn::ModuleList(Block(width), Block(width)))),
        head(register_module("head", nn::Linear(width, 10))) {}
  nn::Embedding embedding;
  nn::ModuleList blocks;
  nn::Linear head;
};
TORCH_MODULE(Net);

std::vector<std::string> names(nn::Module& net, const fabric::UnitChoice& choice) {
  std::vector<std::string> list;
  for (const fabric::UnitPlan& unit :
       fabric::plan_units("Net", fabric::detail::view_of(net).tensors(), choice)) {
    list.push_back(unit.name);
  }
  return list;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_SUITE("strategies.unit_plan") {
  TEST_CASE("auto: elements of lists, the outermost; small neighbours together") {
    CHECK(names(*Net(512), "auto") ==
          Names{"embedding.weight", "blocks.0", "blocks.1", "head.weight"});
    CHECK(names(*Net(8), "auto") == Names{"embedding.weight+blocks.0+blocks.1+head.weight"});
  }

  TEST_CASE("by class, by name, by type, by predicate; nested units stand for themselves") {
    Net net(8);
    CHECK(names(*net, {"Block"}) ==
          Names{"embedding.weight", "blocks.0", "blocks.1", "head.weight"});
    CHECK(names(*net, {"blocks.1"}) == Names{"embedding.weight", "blocks.1", "head.weight"});
    CHECK(names(*net, {"Block", "Linear"}) == Names{"embedding.weight", "blocks.0.mlp.0",
                                                    "blocks.0.mlp.2", "blocks.1.mlp.0",
                                                    "blocks.1.mlp.2", "head"});
    CHECK(names(*net, fabric::units_of<BlockImpl, nn::EmbeddingImpl>()) ==
          Names{"embedding", "blocks.0", "blocks.1", "head.weight"});
    CHECK(names(*net, fabric::units_where([](const std::string& name, const nn::Module&) {
            return name == "head";
          })) == Names{"embedding.weight", "head"});
  }

  TEST_CASE("another dtype and frozen parameters are units of their own") {
    Net net(8);
    net->head->bias.set_requires_grad(false);
    net->blocks[0]->to(torch::kDouble);
    CHECK(names(*net, {"Block", "Linear", "Embedding"}).size() == 7);
    CHECK(names(*net, {"Net"}).size() == 3);
  }

  TEST_CASE("a tied parameter is in one unit") {
    nn::Linear first(4, 4), second(4, 4);
    nn::Sequential net(first, second, first);
    const auto plan =
        fabric::plan_units("Net", fabric::detail::view_of(*net).tensors(), {"0", "1", "2"});
    CHECK(plan.size() == 2);
  }

  TEST_CASE("names that no module has, and complex parameters, are refused") {
    Net net(8);
    CHECK_THROWS_WITH_AS(names(*net, {"Blok"}),
                         doctest::Contains("no module of Net is a unit; got units=Blok"),
                         fabric::MisconfigurationError);
    nn::Sequential bad{nn::Linear(2, 2)};
    bad->register_parameter("wave", torch::zeros({2}, torch::kComplexFloat));
    CHECK_THROWS_WITH_AS(names(*bad, "auto"), doctest::Contains("'wave' of Net is complex"),
                         fabric::MisconfigurationError);
    CHECK_THROWS_AS(fabric::UnitChoice(std::vector<std::string>{}), fabric::MisconfigurationError);
    CHECK_THROWS_AS(fabric::UnitChoice::from_text("Block++head"), fabric::MisconfigurationError);
  }
}
