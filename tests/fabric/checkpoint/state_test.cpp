// What a State is made of, and what loading does with files that do and do not fit it.
#include <doctest/doctest.h>

#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include <torch/torch.h>

#include <fabric/fabric.h>

#include <tests/support/state_trees.h>
#include <tests/support/training.h>

namespace {

using fabric::CheckpointError;
using fabric::State;
using fabric::StateDict;
using fabric::StateList;
using fabric::StateValue;
using support::MLP;
using torch::Tensor;

MLP net_of(int64_t seed) {
  return support::with_seed(seed, [] { return MLP(); });
}

enum class Phase { warmup, training };

struct Options {
  int width = 16;
  double dropout = 0.1;
  std::string activation = "tanh";
  std::optional<int> heads = {};
  std::vector<int> layers = {1, 2};
  std::map<std::string, double> scales = {{"a", 1.5}};
  Phase phase = Phase::warmup;
  std::pair<double, double> betas = {0.9, 0.99};
  std::filesystem::path data = "here";
  bool bias = true;
};

struct EarlyStopping {
  double best = 0;
  int patience = 0;
  StateDict state_dict() const { return {{"best", best}, {"patience", patience}}; }
  void load_state_dict(const StateDict& from) {
    best = from["best"].as<double>();
    patience = from["patience"].as<int>();
  }
};

struct TiedImpl : torch::nn::Module {
  struct Head : torch::nn::Module {
    explicit Head(Tensor shared) : weight(register_parameter("weight", shared)) {}
    Tensor weight;
  };
  TiedImpl()
      : embedding(register_module("embedding", torch::nn::Embedding(5, 4))),
        head(register_module("head", std::make_shared<Head>(embedding->weight))) {}
  torch::nn::Embedding embedding;
  std::shared_ptr<Head> head;
};
TORCH_MODULE(Tied);

struct MaskedImpl : torch::nn::Module {
  MaskedImpl()
      : linear(register_module("linear", torch::nn::Linear(2, 2))),
        positions(register_buffer("positions", torch::arange(4))) {}
  torch::nn::Linear linear;
  Tensor positions;
};
TORCH_MODULE(Masked);

template <class Work>
std::string error_of(Work work) {
  try {
    work();
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "nothing was thrown";
}

bool has(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) {
    MESSAGE(text << " has no " << part);
  }
  return found;
}

}  // namespace

TEST_SUITE("fabric.checkpoint.state") {
  TEST_CASE("plain values, containers and structs come back in place") {
    const TemporaryFolder folder;
    int epoch = 3;
    double loss = 0.25;
    bool done = true;
    std::string name = "run";
    std::vector<double> losses = {1, 0.5};
    std::map<std::string, int> counts = {{"a", 1}};
    std::tuple<int, std::string> pair = {1, "x"};
    std::optional<int> seed = 7;
    Phase phase = Phase::training;
    Options options{.width = 32, .heads = 4, .phase = Phase::training, .data = "/there"};
    Tensor mean = torch::ones({2, 2});
    EarlyStopping stopping{.best = 0.5, .patience = 3};
    const auto state = [&] {
      return State{{"epoch", epoch},   {"loss", loss},       {"done", done}, {"name", name},
                   {"losses", losses}, {"counts", counts},   {"pair", pair}, {"seed", seed},
                   {"phase", phase},   {"options", options}, {"mean", mean}, {"stop", stopping},
                   {"version", 2},     {"kind", "training"}};
    };
    for (const char* file : {"state.pt", "state.safetensors"}) {
      CAPTURE(file);
      fabric::save(folder / file, state());
      const void* memory = mean.data_ptr();
      mean.zero_();
      epoch = 0, loss = 0, done = false, name = "", losses = {}, counts = {}, pair = {};
      seed = std::nullopt, phase = Phase::warmup, options = {}, stopping = {};
      const StateValue rest = fabric::load(folder / file, state());
      CHECK(rest.dict().empty());
      CHECK(epoch == 3);
      CHECK(loss == 0.25);
      CHECK(done);
      CHECK(name == "run");
      CHECK(losses.at(1) == 0.5);
      CHECK(counts.at("a") == 1);
      CHECK(std::get<1>(pair) == "x");
      CHECK(seed == 7);
      CHECK(phase == Phase::training);
      CHECK(options.width == 32);
      CHECK(options.heads == 4);
      CHECK(options.data == "/there");
      CHECK(stopping.patience == 3);
      CHECK(mean.data_ptr() == memory);
      CHECK(mean.equal(torch::ones({2, 2})));
    }
  }

  TEST_CASE("hyper-parameters are read without the program that saved them") {
    const TemporaryFolder folder;
    Options options{.width = 64};
    fabric::save(folder / "a.pt", {{"options", options}, {"model", net_of(1)}});
    const StateValue file = fabric::load(folder / "a.pt");
    CHECK(file["options"]["width"].as<int>() == 64);
    auto read = file["options"].as<Options>();
    CHECK(read.width == 64);
    CHECK(read.layers.at(1) == 2);
    read.width = 8;  // overridden
    CHECK(file["model"]["first.weight"].tensor().equal(net_of(1)->first->weight));
    // A field that is not there keeps its default.
    fabric::save(folder / "b.pt", {{"options", StateDict{{"width", 5}, {"unknown", 1}}}});
    CHECK(fabric::load(folder / "b.pt")["options"].as<Options>().activation == "tanh");
    CHECK(has(error_of([&] {
                fabric::save(folder / "c.pt", {{"options", StateDict{{"width", "wide"}}}});
                fabric::load(folder / "c.pt")["options"].as<Options>();
              }),
              "field 'width'"));
  }

  TEST_CASE("every form of a model has the same keys, before and after setup") {
    const TemporaryFolder folder;
    fabric::Fabric fabric({.accelerator = "cpu"});
    fabric.launch();
    MLP holder = net_of(1);
    fabric::save(folder / "before.pt", {{"model", holder}});
    auto model = fabric.setup(holder);
    fabric.save(folder / "after.pt", {{"model", model}});
    fabric.save(folder / "raw.pt", {{"model", holder}});
    fabric::save(folder / "shared.pt", {{"model", holder.ptr()}});
    support::MLPImpl on_stack;
    fabric::load(folder / "before.pt", {{"model", on_stack}});
    fabric::save(folder / "stack.pt", {{"model", on_stack}});
    const StateValue expected = fabric::load(folder / "before.pt");
    CHECK(expected["model"].dict().size() == 6);
    for (const char* file : {"after.pt", "raw.pt", "shared.pt", "stack.pt"}) {
      CAPTURE(file);
      // Without what Fabric::save notes besides.
      CHECK(difference(expected["model"], fabric::load(folder / file)["model"]) == "");
    }
    const StateValue noted = fabric::load(folder / "after.pt")["fabric"];
    CHECK(noted["strategy"].string() == "single_device");
    CHECK(noted["world_size"].as<int>() == 1);
    int mine = 1;
    CHECK_THROWS_WITH_AS(fabric.save(folder / "x.pt", {{"fabric", mine}}),
                         doctest::Contains("is the toolkit's"), fabric::MisconfigurationError);
  }

  TEST_CASE("parameters stay where they are, and backward through what they were throws") {
    const TemporaryFolder folder;
    MLP other = net_of(2);
    fabric::save(folder / "net.pt", other);
    MLP net = net_of(1);
    const Tensor weight = net->first->weight;
    const void* memory = weight.data_ptr();
    const Tensor loss = net->forward(torch::ones({2, 6})).sum();
    fabric::load(folder / "net.pt", net);
    CHECK(net->first->weight.is_same(weight));
    CHECK(weight.data_ptr() == memory);
    CHECK(weight.requires_grad());
    CHECK(weight.equal(other->first->weight));
    CHECK_THROWS_WITH_AS(loss.backward(), doctest::Contains("inplace operation"), c10::Error);
  }

  TEST_CASE("what was not asked for is returned, at any depth") {
    const TemporaryFolder folder;
    MLP net = net_of(1);
    int epoch = 1;
    int step = 2;
    fabric::save(
        folder / "a.pt",
        {{"net", net}, {"loop", State{{"epoch", epoch}, {"step", step}}}, {"note", "hello"}});
    epoch = 0;
    const StateValue rest = fabric::load(folder / "a.pt", {{"loop", State{{"epoch", epoch}}}});
    CHECK(epoch == 1);
    CHECK(rest["note"].string() == "hello");
    CHECK(rest["loop"]["step"].as<int>() == 2);
    CHECK(!rest["loop"].contains("epoch"));
    CHECK(rest["net"]["first.weight"].tensor().equal(net->first->weight));
  }

  TEST_CASE("all that does not fit is named, and nothing has changed") {
    const TemporaryFolder folder;
    MLP net = net_of(1);
    StateDict tensors;
    tensors.append("first.weight", torch::zeros({16, 6}));
    tensors.append("first.bias", torch::zeros({7}));
    tensors.append("second.weight", torch::zeros({16, 16}, torch::kLong));
    tensors.append("stranger", torch::zeros({1}));
    fabric::save(folder / "a.pt", {{"model", tensors}, {"epoch", "three"}});
    int epoch = 5;
    const std::string text = error_of([&] {
      fabric::load(folder / "a.pt", {{"model", net}, {"epoch", epoch}});
    });
    CHECK(has(text, "it lacks 'model.second.bias', 'model.third.weight', 'model.third.bias'"));
    CHECK(has(text, "nothing in the program takes 'model.stranger'"));
    CHECK(has(text, "'model.first.bias': got Float [7]; expected Float [16]"));
    CHECK(has(text, "'model.second.weight': got Long [16, 16]; expected Float [16, 16]"));
    CHECK(has(text, "'epoch': "));
    CHECK(has(text, "Nothing was changed"));
    CHECK(epoch == 5);
    CHECK(net->first->weight.equal(net_of(1)->first->weight));
    CHECK(has(error_of([&] {
                fabric::load(folder / "a.pt", {{"missing", epoch}});
              }),
              "it lacks 'missing'"));
  }

  TEST_CASE("loading that is not strict takes what is there") {
    const TemporaryFolder folder;
    StateDict tensors;
    tensors.append("first.weight", torch::ones({16, 6}));
    tensors.append("stranger", torch::ones({1}));
    fabric::save(folder / "a.pt", {{"model", tensors}});
    MLP net = net_of(1);
    int epoch = 4;
    const StateValue rest =
        fabric::load(folder / "a.pt", {{"model", net}, {"epoch", epoch}}, {.strict = false});
    CHECK(net->first->weight.equal(torch::ones({16, 6})));
    CHECK(net->third->bias.equal(net_of(1)->third->bias));
    CHECK(epoch == 4);
    CHECK(rest["model"]["stranger"].tensor().equal(torch::ones({1})));
    // Shapes that differ are an error all the same.
    fabric::save(folder / "b.pt", {{"model", StateDict{{"first.bias", torch::ones({3})}}}});
    CHECK(has(error_of([&] {
                fabric::load(folder / "b.pt", {{"model", net}}, {.strict = false});
              }),
              "expected Float [16]"));
  }

  TEST_CASE("filters choose keys for saving and for loading") {
    const TemporaryFolder folder;
    MLP net = net_of(1);
    int epoch = 1;
    fabric::save(
        folder / "a.pt", {{"model", net}, {"epoch", epoch}},
        {.filter = [](const std::string& key) { return !key.starts_with("model.third"); }});
    const StateValue file = fabric::load(folder / "a.pt");
    CHECK(file["model"].dict().size() == 4);
    CHECK(file["epoch"].as<int>() == 1);
    MLP other = net_of(2);
    epoch = 0;
    fabric::load(folder / "a.pt", {{"model", other}, {"epoch", epoch}},
                 {.filter = [](const std::string& key) { return key.starts_with("model.first"); }});
    CHECK(other->first->weight.equal(net->first->weight));
    CHECK(other->second->weight.equal(net_of(2)->second->weight));
    CHECK(epoch == 0);
  }

  TEST_CASE("names of tensors are rewritten by rules") {
    const TemporaryFolder folder;
    MLP net = net_of(1);
    StateDict tensors;
    for (const auto& item : net->named_parameters()) {
      tensors.append("module." + item.key(), item.value().detach());
    }
    fabric::save(folder / "a.pt", {{"model", tensors}});
    MLP other = net_of(2);
    fabric::load(folder / "a.pt", {{"model", other}}, {.rename = {{"^module\\.", ""}}});
    CHECK(support::distance(net->parameters(), other->parameters()) == 0);
    CHECK_THROWS_WITH_AS(fabric::load(folder / "a.pt", {{"model", other}}, {.rename = {{"(", ""}}}),
                         doctest::Contains("no regular expression; got '('"),
                         fabric::MisconfigurationError);
    CHECK(has(error_of([&] {
                fabric::load(folder / "a.pt", {{"model", other}}, {.rename = {{"^.*$", "same"}}});
              }),
              "two names of the file become 'same'"));
  }

  TEST_CASE("tied tensors are stored once, and found under either name") {
    const TemporaryFolder folder;
    Tied net = support::with_seed(1, [] { return Tied(); });
    for (const char* name : {"a.pt", "a.safetensors"}) {
      fabric::save(folder / name, net);
      const StateValue file = fabric::load(folder / name);
      CHECK(file.dict().size() == 2);
      CHECK(file["head.weight"].stored().bytes() == file["embedding.weight"].stored().bytes());
      Tied other;
      fabric::load(folder / name, other);
      CHECK(other->head->weight.equal(net->embedding->weight));
      CHECK(other->head->weight.is_same(other->embedding->weight));
    }
    fabric::save(folder / "b.pt", net,
                 {.filter = [](const std::string& key) { return key != "embedding.weight"; }});
    Tied other;
    fabric::load(folder / "b.pt", other);
    CHECK(other->embedding->weight.equal(net->embedding->weight));
  }

  TEST_CASE("buffers that Python does not save are skipped where that is said") {
    const TemporaryFolder folder;
    Masked net;
    fabric::save(folder / "a.pt", net,
                 {.filter = [](const std::string& key) { return key != "positions"; }});
    CHECK(has(error_of([&] { fabric::load(folder / "a.pt", net); }), "it lacks 'positions'"));
    fabric::load(folder / "a.pt", net, {.skip_buffers = {"*positions"}});
    // And the other way round: the file has one that the program does not.
    StateDict tensors;
    for (const auto& item : net->linear->named_parameters()) {
      tensors.append(item.key(), item.value().detach());
    }
    tensors.append("cache.mask", torch::zeros({2}));
    fabric::save(folder / "b.pt", tensors);
    CHECK(has(error_of([&] { fabric::load(folder / "b.pt", net->linear); }),
              "nothing in the program takes 'cache.mask'"));
    fabric::load(folder / "b.pt", net->linear, {.skip_buffers = {"cache.*"}});
  }

  TEST_CASE("dtypes are converted to the program's, kinds of numbers are not") {
    const TemporaryFolder folder;
    MLP net = net_of(1);
    fabric::save(folder / "a.pt", net);
    for (const auto dtype : {torch::kDouble, torch::kBFloat16}) {
      MLP other = net_of(2);
      other->to(dtype);
      fabric::load(folder / "a.pt", other);
      CHECK((other->first->weight.scalar_type() == dtype));
      CHECK(other->first->weight.equal(net->first->weight.to(dtype)));
    }
    Tensor counts = torch::zeros({3}, torch::kInt);
    fabric::save(folder / "b.pt", {{"counts", torch::arange(3)}});
    fabric::load(folder / "b.pt", {{"counts", counts}});
    CHECK(counts.equal(torch::arange(3, torch::kInt)));
    MLP channels = net_of(3);
    Tensor image = torch::zeros({2, 3, 4, 4}).contiguous(torch::MemoryFormat::ChannelsLast);
    const Tensor values = torch::randn({2, 3, 4, 4});
    fabric::save(folder / "c.pt", {{"image", values}});
    fabric::load(folder / "c.pt", {{"image", image}});
    CHECK(image.equal(values));
    CHECK(image.is_contiguous(torch::MemoryFormat::ChannelsLast));
  }

  TEST_CASE("structs of handles, maps and lists of models are states") {
    struct Training {
      MLP model = net_of(1);
      torch::optim::Adam optimizer{model->parameters(), 0.01};
      int epoch = 2;
      std::vector<MLP> teachers = {net_of(2), net_of(3)};
      std::map<std::string, MLP> heads = {{"a", net_of(4)}};
    };
    const TemporaryFolder folder;
    Training training;
    training.model->forward(torch::ones({2, 6})).sum().backward();
    training.optimizer.step();
    State state;
    state.add("model", training.model);
    state.add("optimizer", training.optimizer);
    state.add("epoch", training.epoch);
    state.add("teachers", training.teachers);
    state.add("heads", training.heads);
    fabric::save(folder / "a.pt", state);
    Training other{.model = net_of(9), .epoch = 0, .teachers = {net_of(9), net_of(9)}};
    State second;
    second.add("model", other.model);
    second.add("optimizer", other.optimizer);
    second.add("epoch", other.epoch);
    second.add("teachers", other.teachers);
    second.add("heads", other.heads);
    fabric::load(folder / "a.pt", second);
    CHECK(other.epoch == 2);
    CHECK(support::distance(other.model->parameters(), training.model->parameters()) == 0);
    CHECK(other.teachers[1]->first->weight.equal(net_of(3)->first->weight));
    CHECK(other.heads.at("a")->first->weight.equal(net_of(4)->first->weight));
    // A struct that can be copied is a state by itself.
    struct Handles {
      MLP model = net_of(5);
      std::shared_ptr<torch::optim::Optimizer> optimizer =
          std::make_shared<torch::optim::SGD>(model->parameters(), 0.1);
      int epoch = 7;
    };
    Handles handles;
    fabric::save(folder / "b.pt", handles);
    Handles loaded{.model = net_of(6), .epoch = 0};
    fabric::load(folder / "b.pt", loaded);
    CHECK(loaded.epoch == 7);
    CHECK(loaded.model->first->weight.equal(net_of(5)->first->weight));
  }

  TEST_CASE("random numbers go on") {
    const TemporaryFolder folder;
    fabric::Fabric fabric({.accelerator = "cpu"});
    fabric.launch();
    torch::manual_seed(3);
    torch::rand({5});
    auto generator = at::make_generator<at::CPUGeneratorImpl>(11);
    torch::rand({3}, generator);
    fabric.save(folder / "a.pt", {{"random", fabric.random_state()}, {"own", generator}});
    const Tensor expected = torch::rand({4});
    const Tensor own = torch::rand({4}, generator);
    torch::manual_seed(99);
    generator.set_current_seed(1);
    fabric.load((folder / "a.pt").string(),
                {{"random", fabric.random_state()}, {"own", generator}});
    CHECK(torch::rand({4}).equal(expected));
    CHECK(torch::rand({4}, generator).equal(own));
  }

  TEST_CASE("misuse has texts") {
    const TemporaryFolder folder;
    int epoch = 1;
    CHECK_THROWS_WITH_AS((State{{"a", epoch}, {"a", epoch}}),
                         doctest::Contains("two entries have the name 'a'"),
                         fabric::MisconfigurationError);
    std::shared_ptr<EarlyStopping> nothing;
    CHECK_THROWS_WITH_AS((State{{"a", nothing}}), doctest::Contains("pointer in the state is null"),
                         fabric::MisconfigurationError);
    const int fixed = 3;
    fabric::save(folder / "a.pt", {{"a", fixed}});
    CHECK_THROWS_WITH_AS(fabric::load(folder / "a.pt", {{"a", fixed}}),
                         doctest::Contains("const: it can be saved, not loaded"),
                         fabric::MisconfigurationError);
    CHECK(has(error_of([&] { fabric::load(folder / "none.pt", {{"a", epoch}}); }), "none.pt"));
    CHECK(has(error_of([&] {
                fabric::load(folder.path(), {{"a", epoch}});
              }),
              "is a folder without what makes it a checkpoint"));
    write_bytes(folder / "text.pt", "no checkpoint at all");
    CHECK(has(error_of([&] {
                fabric::load(folder / "text.pt", {{"a", epoch}});
              }),
              "is no checkpoint that is known"));
    CHECK(has(error_of([&] {
                fabric::save(folder / "sparse.pt", {{"s", torch::eye(2).to_sparse()}});
              }),
              "a sparse tensor cannot be saved"));
    CHECK(has(error_of([&] {
                fabric::save(folder / "no" / "where.pt", {{"a", epoch}});
              }),
              "does its folder exist"));
    const StateValue file = fabric::load(folder / "a.pt");
    CHECK(has(error_of([&] { file["b"]; }), "no key 'b'; there are 'a'"));
    CHECK(has(error_of([&] { file["a"].as<std::string>(); }), "got 3; expected a string"));
    CHECK(has(error_of([&] { StateValue(300).as<std::int8_t>(); }), "from -128 to 127"));
    CHECK(has(error_of([&] {
                StateValue(StateList{1, 2}).as<std::tuple<int>>();
              }),
              "expected 1 values"));
    CHECK(StateValue(~std::uint64_t{0}).as<std::uint64_t>() == ~std::uint64_t{0});
    CHECK_THROWS_WITH_AS(
        fabric::save(folder / "d.pt", {{"a", epoch}}, {.format = std::string("zip")}),
        doctest::Contains("file format"), fabric::MisconfigurationError);
  }

  TEST_CASE("a module without memory says what to do first") {
    const TemporaryFolder folder;
    fabric::Fabric fabric({.accelerator = "cpu"});
    fabric.launch();
    fabric::save(folder / "a.pt", net_of(1));
    auto net = fabric.init_module([] { return MLP(); }, {.empty_init = true});
    CHECK(has(error_of([&] { fabric.load(folder / "a.pt", net); }), "has no memory yet"));
    auto model = fabric.setup(net);
    fabric.load(folder / "a.pt", model);
    CHECK(net->first->weight.equal(net_of(1)->first->weight));
  }

  TEST_CASE("LibTorch's own archives work on the handle of a model") {
    const TemporaryFolder folder;
    fabric::Fabric fabric({.accelerator = "cpu"});
    fabric.launch();
    auto model = fabric.setup(net_of(1));
    torch::save(model, (folder / "a.pt").string());
    MLP other = net_of(2);
    torch::load(other, (folder / "a.pt").string());
    CHECK(other->first->weight.equal(net_of(1)->first->weight));
    torch::save(net_of(5), (folder / "b.pt").string());
    torch::load(model, (folder / "b.pt").string());
    CHECK(model->parameters()[0].equal(net_of(5)->first->weight));
  }
}
