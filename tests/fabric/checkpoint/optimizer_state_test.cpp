// Optimizers, schedules and what else a training consists of: saved in the middle, a run goes on as
// if nothing had happened, in the class it was or in its twin.
#include <doctest/doctest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <torch/torch.h>

#include <fabric/fabric.h>

#include <tests/support/state_trees.h>
#include <tests/support/training.h>

namespace {

using fabric::State;
using fabric::StateDict;
using fabric::StateValue;
using support::MLP;
using torch::Tensor;
using Groups = std::vector<torch::optim::OptimizerParamGroup>;

MLP double_net(int64_t seed) {
  return support::with_seed(seed, [] {
    MLP net;
    net->to(torch::kDouble);
    return net;
  });
}

void steps(MLP& net, torch::optim::Optimizer& optimizer, int from, int to) {
  for (int i = from; i < to; ++i) {
    torch::manual_seed(i);
    const Tensor x = torch::randn({8, 6}, torch::kDouble);
    const auto closure = [&] {
      optimizer.zero_grad();
      const Tensor loss = net->forward(x).square().mean();
      loss.backward();
      return loss;
    };
    if (dynamic_cast<torch::optim::LBFGS*>(&optimizer) != nullptr) {
      optimizer.step(closure);
    } else {
      closure();
      optimizer.step();
    }
  }
}

using Make = std::function<std::unique_ptr<torch::optim::Optimizer>(MLP&)>;

template <class Optimizer, class Options>
Make make(Options options) {
  return [options](MLP& net) { return std::make_unique<Optimizer>(net->parameters(), options); };
}

struct Named {
  const char* name;
  Make first;
  Make second;
};

std::vector<Named> optimizers() {
  using namespace torch::optim;
  const auto adam = make<Adam>(AdamOptions(0.01).amsgrad(true).weight_decay(0.1));
  const auto adamw = make<AdamW>(AdamWOptions(0.01).betas({0.8, 0.9}));
  const auto sgd = make<SGD>(SGDOptions(0.01).momentum(0.9).nesterov(true));
  const auto plain_sgd = make<SGD>(SGDOptions(0.01));
  const auto rmsprop = make<RMSprop>(RMSpropOptions(0.01).centered(true).momentum(0.5));
  const auto adagrad = make<Adagrad>(AdagradOptions(0.01).lr_decay(0.1));
  const auto lbfgs = make<LBFGS>(LBFGSOptions(0.1).max_iter(3));
  const auto fused_adam = make<fabric::FusedAdam>(
      fabric::FusedAdamOptions{.lr = 0.01, .weight_decay = 0.1, .amsgrad = true});
  const auto fused_adamw =
      make<fabric::FusedAdamW>(fabric::FusedAdamWOptions{.lr = 0.01, .betas = {0.8, 0.9}});
  const auto fused_sgd = make<fabric::FusedSGD>(
      fabric::FusedSGDOptions{.lr = 0.01, .momentum = 0.9, .nesterov = true});
  const auto fused_adagrad =
      make<fabric::FusedAdagrad>(fabric::FusedAdagradOptions{.lr = 0.01, .lr_decay = 0.1});
  const auto lion = make<fabric::Lion>(fabric::LionOptions{.lr = 0.001});
  return {{"Adam", adam, adam},
          {"AdamW", adamw, adamw},
          {"SGD", sgd, sgd},
          {"SGD without momentum", plain_sgd, plain_sgd},
          {"RMSprop", rmsprop, rmsprop},
          {"Adagrad", adagrad, adagrad},
          {"LBFGS", lbfgs, lbfgs},
          {"FusedAdam", fused_adam, fused_adam},
          {"FusedAdamW", fused_adamw, fused_adamw},
          {"FusedSGD", fused_sgd, fused_sgd},
          {"FusedAdagrad", fused_adagrad, fused_adagrad},
          {"Lion", lion, lion},
          {"Adam to FusedAdam", adam, fused_adam},
          {"FusedAdamW to AdamW", fused_adamw, adamw},
          {"SGD to FusedSGD", sgd, fused_sgd},
          {"FusedAdagrad to Adagrad", fused_adagrad, adagrad}};
}

}  // namespace

TEST_SUITE("fabric.checkpoint.optimizer_state") {
  TEST_CASE("a run that is saved and loaded goes on as one that is not") {
    const TemporaryFolder folder;
    for (const Named& each : optimizers()) {
      CAPTURE(each.name);
      MLP reference = double_net(1);
      const auto reference_optimizer = each.first(reference);
      steps(reference, *reference_optimizer, 0, 3);
      fabric::save(folder / "a.pt", {{"net", reference}, {"optimizer", *reference_optimizer}});
      steps(reference, *reference_optimizer, 3, 6);

      MLP net = double_net(2);
      const auto optimizer = each.second(net);
      fabric::load(folder / "a.pt", {{"net", net}, {"optimizer", *optimizer}});
      steps(net, *optimizer, 3, 6);
      // Twins compute the same numbers in another order of operations.
      const double tolerance = std::string(each.name).find(" to ") == std::string::npos ? 0 : 1e-12;
      CHECK(support::distance(net->parameters(), reference->parameters()) <= tolerance);
    }
  }

  TEST_CASE("options of groups, of any kind, are those of the file") {
    const TemporaryFolder folder;
    MLP net = double_net(1);
    const auto groups = [&](double lr, double other) {
      Groups list;
      list.emplace_back(net->first->parameters(), std::make_unique<torch::optim::AdamWOptions>(lr));
      list.emplace_back(net->third->parameters(),
                        std::make_unique<torch::optim::AdamWOptions>(other));
      return list;
    };
    torch::optim::AdamW adamw(groups(0.1, 0.2));
    fabric::save(folder / "a.pt", {{"optimizer", adamw}});
    torch::optim::AdamW other(groups(1, 2));
    fabric::load(folder / "a.pt", {{"optimizer", other}});
    CHECK(other.param_groups()[1].options().get_lr() == 0.2);
    const StateValue file = fabric::load(folder / "a.pt");
    const std::vector<int> numbers = {2, 3};
    CHECK(file["optimizer"]["param_groups"][1]["params"].as<std::vector<int>>() == numbers);
    // A learning rate on a device is a number in the file, and stays where it is.
    fabric::FusedAdamW fused(net->parameters(), {.lr_tensor = torch::full({}, 0.5)});
    fabric::save(folder / "b.pt", {{"optimizer", fused}});
    fabric::FusedAdamW second(net->parameters(), {.lr_tensor = torch::full({}, 0.25)});
    fabric::load(folder / "b.pt", {{"optimizer", second}});
    CHECK(second.options().lr_tensor.item<double>() == 0.5);
  }

  TEST_CASE("what is missing in a group keeps its value; what would compute otherwise is refused") {
    const TemporaryFolder folder;
    MLP net = double_net(1);
    torch::optim::AdamW adamw(net->parameters(), torch::optim::AdamWOptions(0.1).eps(1e-3));
    const auto file = [&](StateDict group) {
      group.set("params", fabric::to_state(std::vector<int>{0, 1, 2, 3, 4, 5}));
      fabric::save(folder / "a.pt",
                   {{"optimizer", StateDict{{"state", StateDict()},
                                            {"param_groups", fabric::StateList{group}}}}});
      return [&] { fabric::load(folder / "a.pt", {{"optimizer", adamw}}); };
    };
    file({{"lr", 0.5}, {"foreach", StateValue()}})();
    const auto& options =
        static_cast<torch::optim::AdamWOptions&>(adamw.param_groups()[0].options());
    CHECK(options.lr() == 0.5);
    CHECK(options.eps() == 1e-3);
    CHECK_THROWS_WITH_AS(file({{"maximize", true}})(), doctest::Contains("got maximize=1"),
                         fabric::CheckpointError);
    CHECK_THROWS_WITH_AS(file({{"decoupled_weight_decay", false}})(), doctest::Contains("Adam's"),
                         fabric::CheckpointError);
    CHECK_THROWS_WITH_AS(file({{"betas", "many"}})(), doctest::Contains("option 'betas'"),
                         fabric::CheckpointError);
    CHECK(options.lr() == 0.5);
    torch::optim::AdamW fewer(net->first->parameters(), torch::optim::AdamWOptions());
    CHECK_THROWS_WITH_AS(fabric::load(folder / "a.pt", {{"optimizer", fewer}}),
                         doctest::Contains("got 6 parameters; expected 2"),
                         fabric::CheckpointError);
    Groups two;
    two.emplace_back(net->first->parameters());
    two.emplace_back(net->third->parameters());
    torch::optim::AdamW more(two, torch::optim::AdamWOptions());
    CHECK_THROWS_WITH_AS(fabric::load(folder / "a.pt", {{"optimizer", more}}),
                         doctest::Contains("got 1 parameter groups; expected 2"),
                         fabric::CheckpointError);
    fabric::save(folder / "b.pt", {{"optimizer", 3}});
    CHECK_THROWS_WITH_AS(fabric::load(folder / "b.pt", {{"optimizer", adamw}}),
                         doctest::Contains("expected an optimizer's state"),
                         fabric::CheckpointError);
  }

  TEST_CASE("states that name parameters are found by the names of the models in the state") {
    const TemporaryFolder folder;
    MLP net = double_net(1);
    torch::optim::Adam adam(net->parameters(), 0.01);
    steps(net, adam, 0, 2);
    // As torch.distributed.checkpoint.state_dict writes, in another order of parameters.
    fabric::save(folder / "a.pt", {{"net", net}, {"adam", adam}});
    StateDict file = fabric::load(folder / "a.pt").dict();
    std::vector<std::string> names;
    for (const auto& item : net->named_parameters()) {
      names.push_back(item.key());
    }
    StateDict states;
    for (const auto& [number, state] : file["adam"]["state"].dict()) {
      states.append(names.at(number.as<std::size_t>()), state);
    }
    StateDict group = file["adam"]["param_groups"][0].dict();
    group.set("params", fabric::to_state(std::vector<std::string>(names.rbegin(), names.rend())));
    fabric::save(
        folder / "b.pt",
        {{"net", file["net"]},
         {"adam", StateDict{{"state", states}, {"param_groups", fabric::StateList{group}}}}});
    MLP other = double_net(2);
    torch::optim::Adam second(other->parameters(), 0.5);
    fabric::load(folder / "b.pt", {{"net", other}, {"adam", second}});
    steps(net, adam, 2, 4);
    steps(other, second, 2, 4);
    CHECK(support::distance(net->parameters(), other->parameters()) == 0);
    CHECK_THROWS_WITH_AS(fabric::load(folder / "b.pt", {{"adam", second}}),
                         doctest::Contains("the model has to be part of the state"),
                         fabric::CheckpointError);
  }

  TEST_CASE("schedules go on: the toolkit's, LibTorch's and the user's") {
    struct Halving : torch::optim::LRScheduler {
      using LRScheduler::LRScheduler;
      std::vector<double> get_lrs() override { return {step_count_ % 2 == 0 ? 0.1 : 0.05}; }
    };
    const TemporaryFolder folder;
    struct Run {
      MLP net = double_net(1);
      torch::optim::SGD sgd{net->parameters(), 0.1};
      torch::optim::SGD other{net->parameters(), 0.1};
      torch::optim::SGD third{net->parameters(), 0.1};
      torch::optim::SGD fourth{net->parameters(), 0.1};
      torch::optim::StepLR step{sgd, 3, 0.5};
      torch::optim::ReduceLROnPlateauScheduler plateau{
          other, torch::optim::ReduceLROnPlateauScheduler::min, 0.5, 1};
      fabric::Schedule cosine = fabric::warmup_cosine(third, {.warmup_steps = 2, .steps = 10});
      Halving halving{fourth};
      State state() {
        return {{"sgd", sgd},   {"other", other},     {"third", third},   {"fourth", fourth},
                {"step", step}, {"plateau", plateau}, {"cosine", cosine}, {"halving", halving}};
      }
      void go(int from, int to) {
        for (int i = from; i < to; ++i) {
          step.step();
          plateau.step(1);
          cosine.step();
          halving.step();
        }
      }
      std::vector<double> rates() {
        return {sgd.param_groups()[0].options().get_lr(),
                other.param_groups()[0].options().get_lr(),
                third.param_groups()[0].options().get_lr(),
                fourth.param_groups()[0].options().get_lr()};
      }
    };
    for (int at = 0; at < 8; ++at) {
      CAPTURE(at);
      Run first;
      first.go(0, at);
      fabric::save(folder / "a.pt", first.state());
      first.go(at, 9);
      Run second;
      fabric::load(folder / "a.pt", second.state());
      second.go(at, 9);
      CHECK(first.rates() == second.rates());
    }
  }

  TEST_CASE("a whole training: scaler, average, loader") {
    const TemporaryFolder folder;
    struct Run {
      fabric::Fabric fabric{{.accelerator = "cpu", .precision = "16-mixed"}};
      MLP net = support::with_seed(1, [] { return MLP(); });
      fabric::FabricModule<support::MLPImpl> model;
      fabric::FabricOptimizer optimizer;
      fabric::EMA ema;
      fabric::DataLoader<std::vector<torch::data::TensorExample>> loader;
      Run() {
        fabric.launch();
        model = fabric.setup(net);
        optimizer = fabric.setup_optimizers(torch::optim::Adam(net->parameters(), 0.01));
        ema = fabric::EMA(model, {.decay = 0.9});
        torch::manual_seed(5);
        loader =
            fabric.make_data_loader(torch::data::datasets::TensorDataset(torch::randn({24, 6})),
                                    {.batch_size = 4, .seed = 3});
      }
      State state() {
        return {{"model", model},
                {"optimizer", optimizer},
                {"ema", ema},
                {"loader", loader},
                {"scaler", fabric.grad_scaler()},
                {"random", fabric.random_state()}};
      }
      // Trains on `batches` batches, and does something after some of them; returns their losses.
      std::vector<double> train(int batches, int after = 0, std::function<void()> work = {}) {
        std::vector<double> losses;
        while (true) {
          for (auto& batch : *loader) {
            optimizer.zero_grad();
            std::vector<Tensor> rows;
            for (const auto& example : batch) {
              rows.push_back(example.data);
            }
            const Tensor x = torch::dropout(torch::stack(rows), 0.2, true);
            const Tensor loss = model->forward(x).square().mean();
            fabric.backward(loss);
            optimizer.step();
            ema.update();
            losses.push_back(loss.item<double>());
            if (static_cast<int>(losses.size()) == after) {
              work();
            }
            if (static_cast<int>(losses.size()) == batches) {
              return losses;
            }
          }
        }
      }
    };
    Run first;
    torch::manual_seed(8);
    // In the second epoch.
    const auto losses =
        first.train(14, 9, [&] { first.fabric.save(folder / "a.pt", first.state()); });
    const std::vector<double> expected(losses.begin() + 9, losses.end());
    Run second;
    second.fabric.load(folder / "a.pt", second.state());
    CHECK(second.train(5) == expected);
    CHECK(second.ema.updates() == first.ema.updates());
    MLP averaged = support::with_seed(3, [] { return MLP(); });
    MLP same = support::with_seed(4, [] { return MLP(); });
    first.ema.copy_to(averaged);
    second.ema.copy_to(same);
    CHECK(support::distance(averaged->parameters(), same->parameters()) == 0);
    const StateValue file = fabric::load(folder / "a.pt");
    CHECK(file["scaler"]["scale"].as<double>() == 65536);
    CHECK(file["loader"]["samples"].as<int>() == 12);
    auto other = first.fabric.make_data_loader(
        torch::data::datasets::TensorDataset(torch::randn({24, 6})), {.batch_size = 5, .seed = 3});
    CHECK_THROWS_WITH_AS(fabric::load(folder / "a.pt", {{"loader", other}}),
                         doctest::Contains("inside a batch of this loader"),
                         fabric::CheckpointError);
  }
}
