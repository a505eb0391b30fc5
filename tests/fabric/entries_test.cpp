// Inference entries: marks of every kind, registration, entry options, routed(), the list.
#include <doctest/doctest.h>

#include <ATen/autocast_mode.h>
#include <torch/script.h>
#include <torch/torch.h>

#include <fabric/fabric.h>

#include <tests/support/many_marks.h>

namespace {

using torch::Tensor;

struct Choice {
  int n = 1;
};

struct BaseImpl : torch::nn::Module {
  FABRIC_INFERENCE_ENTRY(describe)
  virtual std::string describe() const { return "base"; }
  FABRIC_INFERENCE_ENTRY(score, .grad = "off")
  Tensor score(Tensor x) { return x + 1; }
};

struct NetImpl : BaseImpl {
  NetImpl() : layer(register_module("layer", torch::nn::Linear(2, 2))) {}

  Tensor forward(Tensor x) { return layer(x); }

  std::string describe() const override { return "net"; }

  // Marked again: other options than the base's.
  FABRIC_INFERENCE_ENTRY(score, .grad = "inherit")
  Tensor score(Tensor x) { return layer(x); }

  FABRIC_INFERENCE_ENTRY(state)
  std::vector<bool> state() {
    return {torch::GradMode::is_enabled(), c10::InferenceMode::is_enabled(), is_training(),
            layer->is_training(), at::autocast::is_autocast_enabled(torch::kCPU)};
  }
  FABRIC_INFERENCE_ENTRY(quiet_state, .grad = "off", .mode = "eval", .precision = "32-true")
  std::vector<bool> quiet_state() { return state(); }
  FABRIC_INFERENCE_ENTRY(inference_state, .grad = "inference_mode")
  std::vector<bool> inference_state() { return state(); }
  FABRIC_INFERENCE_ENTRY(training_state, .mode = "train")
  std::vector<bool> training_state() { return state(); }

  FABRIC_INFERENCE_ENTRY(fail, .grad = "off", .mode = "eval", .precision = "bf16-mixed")
  void fail() { throw std::runtime_error("failed inside"); }

  FABRIC_INFERENCE_ENTRY(largest)
  template <class T>
  T largest(T a, T b) const noexcept {
    return a > b ? a : b;
  }
  FABRIC_INFERENCE_ENTRY(inner)
  Tensor& inner() { return layer->weight; }

  int choose(const Tensor&, Choice choice) { return choice.n; }
  Tensor encode(Tensor x) { return torch::relu(layer(x)); }
  Tensor decode(Tensor x) { return torch::tanh(layer(x)); }

  torch::nn::Linear layer;
};
TORCH_MODULE(Net);

template <class Scalar>
struct TemplatedImpl : torch::nn::Module {
  FABRIC_INFERENCE_ENTRY(scaled)
  Tensor scaled(Tensor x, Scalar factor = Scalar(2)) { return x * factor; }
};

double free_function(NetImpl& net, double x) {
  return x + net.layer->weight.numel();
}

std::vector<std::string> names(const std::vector<fabric::Entry>& entries) {
  std::vector<std::string> list;
  for (const fabric::Entry& entry : entries) {
    list.push_back(std::string(fabric::to_text(entry.origin)) + " " + entry.name);
  }
  return list;
}

using Flags = std::vector<bool>;  // grad, inference, training, layer training, autocast

}  // namespace

TEST_SUITE("fabric.entries") {
  TEST_CASE("overridden and re-marked methods, templates, references, class templates") {
    fabric::Fabric fabric;
    Net net;
    auto model = fabric.setup(net);
    CHECK(model->describe() == "net");  // the override, through the base's mark
    CHECK(model->score(torch::ones({1, 2})).requires_grad());  // the derived mark's options
    CHECK(model->largest(2, 3) == 3);
    CHECK(model->largest(2.5, 1.5) == 2.5);
    CHECK(&model->inner() == &net->layer->weight);
    auto base = fabric.setup(std::make_shared<BaseImpl>());
    CHECK(base->describe() == "base");

    auto templated = fabric.setup(std::make_shared<TemplatedImpl<double>>());
    CHECK(templated->scaled(torch::ones({2})).sum().item<double>() == 4);
    CHECK(templated->scaled(torch::ones({2}), 5).sum().item<double>() == 10);
  }

  TEST_CASE("a class may have hundreds of marks, and its header may be included anywhere") {
    fabric::Fabric fabric;
    auto model = fabric.setup(std::make_shared<support::ManyMarks>());
    CHECK(model->entry_000() == 0);
    CHECK(model->entry_299() == 299);
    CHECK(model.entries().size() == 301);
  }

  TEST_CASE("entries say their grad mode, model mode and precision, and put them back") {
    fabric::Fabric fabric({.precision = "bf16-mixed"});
    Net net;
    auto model = fabric.setup(net);
    CHECK(model->state() == Flags{true, false, true, true, true});
    CHECK(model->quiet_state() == Flags{false, false, false, false, false});
    CHECK(model->inference_state() == Flags{false, true, true, true, true});
    CHECK(model->state() == Flags{true, false, true, true, true});

    net->layer->eval();  // a frozen part inside a training net
    CHECK(model->quiet_state() == Flags{false, false, false, false, false});
    CHECK(net->is_training());
    CHECK(!net->layer->is_training());
    CHECK(model->training_state() == Flags{true, false, true, true, true});
    CHECK(!net->layer->is_training());
    const torch::NoGradGuard outside;
    CHECK(!model->state()[0]);
  }

  TEST_CASE("an exception inside an entry leaves everything as it was") {
    fabric::Fabric fabric;
    Net net;
    net->layer->eval();
    auto model = fabric.setup(net);
    CHECK_THROWS_WITH(model->fail(), "failed inside");
    CHECK(torch::GradMode::is_enabled());
    CHECK(net->is_training());
    CHECK(!net->layer->is_training());
    CHECK(!at::autocast::is_autocast_enabled(torch::kCPU));
    CHECK(model->state() ==
          Flags{true, false, true, false, false});  // routed: not "inside" any more
    CHECK_THROWS_AS(fabric.routed([&] { model->fail(); }, model), std::runtime_error);
    CHECK(model->quiet_state()[2] == false);  // an outermost call again
  }

  TEST_CASE("an entry called inside a routed call runs plainly") {
    fabric::Fabric fabric({.precision = "bf16-mixed"});
    Net net;
    auto model = fabric.setup(net);
    Net other;
    auto second = fabric.setup(other);
    const auto [quiet, state] = fabric.routed(
        [&] {
          CHECK(second->state()[4]);
          return std::pair(model->quiet_state(), model->state());
        },
        model, second);
    CHECK(quiet == Flags{true, false, true, true, true});
    CHECK(state == quiet);
    const Tensor loss = fabric.routed(
        [&] {
          return (net->forward(torch::ones({1, 2})) - other->forward(torch::ones({1, 2}))).sum();
        },
        model, second);
    CHECK((loss.scalar_type() == torch::kFloat));  // converted back from bf16
    fabric.backward(loss);
    CHECK(net->layer->weight.grad().defined());
    CHECK(other->layer->weight.grad().defined());
  }

  TEST_CASE("methods, functions and lambdas are registered at run time") {
    fabric::Fabric fabric({.precision = "bf16-mixed"});
    Net net;
    auto model = fabric.setup(net);
    auto choose = model.register_forward_method(&NetImpl::choose);
    CHECK(choose(Tensor(), {.n = 4}) == 4);
    auto off = model.register_forward_method("off", [](NetImpl& module) { return module.state(); },
                                             {.grad = "off", .mode = "eval"});
    CHECK(off() == Flags{false, false, false, false, true});
    auto function = model.register_forward_method("free", free_function);
    CHECK(function(1) == 5);
    auto generic = model.register_forward_method(
        "generic", [](NetImpl& module, auto x) { return module.forward(x); });
    CHECK((generic(torch::ones({1, 2})).scalar_type() == torch::kFloat));
    auto counter =
        model.register_forward_method("counter", [calls = 0](NetImpl&) mutable { return ++calls; });
    counter();
    CHECK(counter() == 2);
    auto named = model.register_forward_method("encode", &NetImpl::encode, {.grad = "off"});
    CHECK(!named(torch::ones({1, 2})).requires_grad());
    CHECK(model.register_forward_method(&NetImpl::decode)(torch::ones({1, 2})).requires_grad());

    const std::vector<std::string> expected{"forward forward",       "marked describe",
                                            "marked score",          "marked state",
                                            "marked quiet_state",    "marked inference_state",
                                            "marked training_state", "marked fail",
                                            "marked largest",        "marked inner"};
    auto all = names(model.entries());
    REQUIRE(all.size() == 17);
    CHECK(std::vector(all.begin(), all.begin() + 10) == expected);
    CHECK(all[11] == "registered off");
    CHECK(all[15] == "registered encode");
    CHECK(model.entries()[4].options.grad.is("off"));
    CHECK(model.entries()[2].options.grad.is("inherit"));  // the derived mark
  }

  TEST_CASE("wrong registrations say what is wrong") {
    fabric::Fabric fabric;
    Net net;
    auto model = fabric.setup(net);
    auto encode = model.register_forward_method(&NetImpl::encode);
    const auto throws = [](auto&& call, const char* text) {
      CHECK_THROWS_WITH_AS(call(), doctest::Contains(text), fabric::MisconfigurationError);
    };
    throws([&] { model.register_forward_method(&NetImpl::encode); }, "is an entry already");
    throws([&] { model.register_forward_method("encode", &NetImpl::encode); },
           "is an entry already");
    throws([&] { model.register_forward_method("score", &NetImpl::decode); },
           "'score' is an entry of Net already (marked). Hint: call model.score(…)");
    throws([&] { model.register_forward_method(&NetImpl::forward); },
           "forward is an entry of every model");
    throws([&] { model.register_forward_method("forward", &NetImpl::decode); },
           "forward is an entry of every model");
    throws(
        [&] {
          model.register_forward_method("null", static_cast<double (*)(NetImpl&, double)>(nullptr));
        },
        "the callable is null");
    throws([&] { model.register_forward_method("null", std::function<void(NetImpl&)>()); },
           "the callable is null");
    throws([&] { model.register_forward_method(&NetImpl::decode, {.precision = "64-true"}); },
           "asks for 64-true, but the parameters were set up for 32-true");
  }

  TEST_CASE("methods of a TorchScript model are registered by name") {
    torch::jit::Module script("Scripted");
    script.register_parameter("weight", torch::ones({2, 2}, torch::requires_grad()), false);
    script.register_attribute("training", c10::BoolType::get(), true);
    script.define(R"(
def forward(self, x):
    return torch.matmul(x, self.weight)
def encode(self, x, scale: float = 1.0):
    return {"out": [torch.matmul(x, self.weight) * scale], "training": [torch.tensor(self.training)]}
)");
    fabric::Fabric fabric({.precision = "bf16-mixed"});
    auto model = fabric.setup(script);
    const Tensor x = torch::ones({1, 2});
    CHECK_THROWS_WITH_AS(
        model.run_method("encode", {x}),
        doctest::Contains("'encode' is no entry of Scripted; expected forward. Hint: "
                          "model.register_forward_method(\"encode\") first"),
        fabric::RoutingError);
    CHECK_THROWS_WITH_AS(model.register_forward_method("encoed"),
                         doctest::Contains("has no method 'encoed'; it defines forward or encode"),
                         fabric::MisconfigurationError);
    CHECK_THROWS_AS(model.register_forward_method("forward"), fabric::MisconfigurationError);
    auto encode = model.register_forward_method("encode", {.grad = "off", .mode = "eval"});
    CHECK_THROWS_AS(model.register_forward_method("encode"), fabric::MisconfigurationError);
    for (const c10::IValue& result : {encode(x, 2.0), model.run_method("encode", {x, 2.0})}) {
      const auto dict = result.toGenericDict();
      const Tensor out = dict.at("out").toTensorVector()[0];
      CHECK((out.scalar_type() == torch::kFloat));  // from bf16, inside a list inside a dictionary
      CHECK(out.sum().item<double>() == 8);
      CHECK(!out.requires_grad());
      CHECK(!dict.at("training").toTensorVector()[0].item<bool>());
    }
    CHECK(script.attr("training").toBool());
    CHECK(names(model.entries()) ==
          std::vector<std::string>{"forward forward", "registered encode"});
  }
}
