// [[fabric::inference_entry]]: what the generated header makes of tests/attributed/models.h.
#include <ATen/autocast_mode.h>
#include <fabric/fabric.h>

#include <tests/attributed/models.h>

// After LibTorch, which has a CHECK of its own.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

namespace owner {
Tensor NetImpl::evaluation_step(Tensor x) {
  return forward(x);
}
}  // namespace owner

namespace {

using torch::Tensor;

struct LocalImpl : owner::NetImpl {
  [[fabric::inference_entry(.precision = "bf16-mixed")]] bool autocasts() {
    return at::autocast::is_autocast_enabled(torch::kCPU);
  }
};

// Marked and attributed entries live together.
struct BothImpl : owner::NetImpl {
  FABRIC_INFERENCE_ENTRY(marked)
  int marked() { return 9; }
};

std::vector<std::string> names(const std::vector<fabric::Entry>& entries) {
  std::vector<std::string> list;
  for (const fabric::Entry& entry : entries) {
    list.push_back(std::string(fabric::to_text(entry.origin)) + " " + entry.name);
  }
  return list;
}

template <class Model>
concept HasUnmarked = requires(Model& model) { model->not_an_entry(); };

const std::vector<std::string> kEntriesOfNet{
    "forward forward",   "attributed evaluation_step", "attributed generate", "attributed twice",
    "attributed scaled", "attributed after",           "attributed text"};

}  // namespace

TEST_CASE("attributed methods are typed entries") {
  fabric::Fabric fabric;
  auto net = std::make_shared<owner::NetImpl>();
  auto model = fabric.setup(net);
  const Tensor x = torch::ones({1, 2});
  CHECK(torch::equal(model->evaluation_step(x), net->forward(x)));
  CHECK(model->generate(x, {.n = 4}) == 4);
  CHECK(model->twice(4) == 8);
  CHECK(model->scaled(x).sum().item<double>() == 6);
  CHECK(model->scaled(2.0) == 4);
  CHECK(model->after(1) == 2);
  CHECK(model->text().size() > 10);
  CHECK(!HasUnmarked<decltype(model)>);
  CHECK(names(model.entries()) == kEntriesOfNet);
  const fabric::EntryOptions quiet{.grad = "off", .mode = "eval"};
  CHECK((model.entries()[2].options == quiet));
  model->evaluation_step(x).sum().backward();
  CHECK(net->layer->weight.grad().defined());
}

TEST_CASE("attributes of base classes are inherited") {
  fabric::Fabric fabric;
  auto model = fabric.setup(std::make_shared<owner::DerivedImpl>());
  CHECK(model->extra() == 7);
  CHECK(model->generate(Tensor(), {.n = 2}) == 20);  // the override
  auto plain = fabric.setup(std::make_shared<owner::PlainDerivedImpl>());
  CHECK(names(plain.entries()) == kEntriesOfNet);
}

TEST_CASE("nested classes, class templates in inline namespaces, classes of a source file") {
  fabric::Fabric fabric;
  CHECK(fabric.setup(std::make_shared<owner::NetImpl::InnerImpl>())->inner() == 5);
  CHECK(fabric.setup(std::make_shared<owner::TemplatedImpl<double>>())->value(2.5) == 2.5);
  CHECK(fabric.setup(std::make_shared<owner::TemplatedImpl<int>>())->value(2) == 2);
  auto local = fabric.setup(std::make_shared<LocalImpl>());
  CHECK(local->autocasts());
  CHECK(local->after(1) == 2);
  auto both = fabric.setup(std::make_shared<BothImpl>());
  CHECK(both->marked() == 9);
  CHECK(both->after(1) == 2);
}
