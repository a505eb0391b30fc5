// Optimizers and schedules by name: the defaults of LibTorch, the options that were chosen.
#include <doctest/doctest.h>

#include <sstream>
#include <string>
#include <vector>

#include <torch/optim/adagrad.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/rmsprop.h>
#include <torch/optim/sgd.h>

#include <fabric/config.h>
#include <fabric/optim/classes.h>
#include <fabric/optim/optimizers.h>
#include <tests/support/config.h>

namespace {

struct Config {
  fabric::Class<torch::optim::Optimizer> optimizer = "AdamW";
  fabric::Class<fabric::Curve> schedule = fabric::CosineAnnealingLR{.steps = 10};
};

std::shared_ptr<torch::optim::Optimizer> made(const std::string& name) {
  return fabric::Class<torch::optim::Optimizer>(name).make(
      std::vector<at::Tensor>{torch::zeros({2})});
}

template <class Options>
const Options& options_of(torch::optim::Optimizer& optimizer) {
  return static_cast<const Options&>(optimizer.param_groups().at(0).options());
}

const bool registered = (fabric::register_optimizers(), fabric::register_schedules(), true);

}  // namespace

TEST_SUITE("fabric.optim.classes") {
  TEST_CASE("registering twice does nothing") {
    fabric::register_optimizers();
    fabric::register_schedules();
    CHECK(fabric::Class<torch::optim::Optimizer>::classes().names().size() == 10);
    CHECK(fabric::Class<fabric::Curve>::classes().names().size() == 9);
  }

  TEST_CASE("defaults are LibTorch's") {
    CHECK(options_of<torch::optim::AdamOptions>(*made("Adam")) == torch::optim::AdamOptions());
    CHECK(options_of<torch::optim::AdamWOptions>(*made("AdamW")) == torch::optim::AdamWOptions());
    CHECK(options_of<torch::optim::SGDOptions>(*made("SGD")) == torch::optim::SGDOptions(1e-3));
    CHECK(options_of<torch::optim::RMSpropOptions>(*made("RMSprop")) ==
          torch::optim::RMSpropOptions());
    CHECK(options_of<torch::optim::AdagradOptions>(*made("Adagrad")) ==
          torch::optim::AdagradOptions());
  }

  TEST_CASE("every class is made from the parameters") {
    for (const std::string& name : fabric::Class<torch::optim::Optimizer>::classes().names()) {
      CAPTURE(name);
      CHECK(made(name)->param_groups().at(0).params().size() == 1);
    }
    CHECK(dynamic_cast<fabric::FusedAdamW*>(made("FusedAdamW").get()) != nullptr);
    CHECK(dynamic_cast<fabric::Lion*>(made("Lion").get()) != nullptr);
  }

  TEST_CASE("options that are chosen arrive") {
    const support::ConfigFolder folder;
    const auto config = fabric::config::Parser<Config>().read(
        folder.inputs({"--optimizer=SGD", "--optimizer.lr=0.5", "--optimizer.momentum=0.9",
                       "--schedule=StepLR", "--schedule.step_size=2", "--schedule.gamma=0.5"}));
    const auto optimizer = config->optimizer.make(std::vector<at::Tensor>{torch::zeros({2})});
    CHECK(options_of<torch::optim::SGDOptions>(*optimizer).lr() == 0.5);
    CHECK(options_of<torch::optim::SGDOptions>(*optimizer).momentum() == 0.9);
    const fabric::Curve curve = config->schedule.make();
    CHECK(curve.lr({.step = 2, .base_lr = 1}) == doctest::Approx(0.5));
    CHECK(Config().schedule.make().lr({.step = 10, .base_lr = 1}) == doctest::Approx(0));
    const auto fused = fabric::config::Parser<Config>().read(
        folder.inputs({"--optimizer=FusedAdamW", "--optimizer.betas=0.5,0.6"}));
    CHECK(fused->optimizer.get_if<fabric::FusedAdamWOptions>()->betas == std::pair(0.5, 0.6));
    CHECK(support::has(support::problems_of([&] {
                         fabric::config::Parser<Config>().read(
                             folder.inputs({"--optimizer=SGD", "--optimizer.betas=1,2"}));
                       }),
                       {"the class SGD has no such option"}));
  }

  TEST_CASE("a schedule that cannot work is an error of the configuration") {
    const support::ConfigFolder folder;
    const auto wrong = [&](std::vector<std::string> arguments) {
      return support::problems_of(
          [&] { fabric::config::Parser<Config>().read(folder.inputs(std::move(arguments))); });
    };
    CHECK(support::has(wrong({"--schedule=StepLR"}),
                       {"--schedule (argument 1): ", "StepLR needs a length; got step_size=0"}));
    CHECK(support::has(wrong({"--schedule=OneCycleLR", "--schedule.steps=9",
                              "--schedule.pct_start=2", "--schedule.anneal=cosin"}),
                       {"got 'cosin'; expected cosine or linear"}));
    CHECK(support::has(
        wrong({"--schedule=OneCycleLR", "--schedule.steps=9", "--schedule.pct_start=2"}),
        {"--schedule (argument 1): OneCycleLR cannot work; got pct_start=2; expected 0 to 1"}));
    // How many groups there are is not known yet.
    CHECK(wrong({"--schedule=OneCycleLR", "--schedule.steps=9", "--schedule.max_lr=1,2"}).empty());
  }

  TEST_CASE("every option has a help text, but those whose name says all") {
    const support::ConfigFolder folder;
    for (const char* option : {"optimizer", "schedule"}) {
      std::string screen;
      try {
        fabric::config::Parser<Config>().read(
            folder.inputs({std::string("--") + option + ".help"}));
      } catch (const fabric::config::ScreenRequest& request) {
        screen = request.screen();
      }
      std::istringstream lines(screen);
      for (std::string line; std::getline(lines, line);) {
        const bool bare = line.starts_with("  --") && line.find("  [") != std::string::npos;
        const bool clear =
            line.starts_with("  --optimizer.lr ") || line.starts_with("  --optimizer.momentum ");
        CHECK_MESSAGE((!bare || clear), line);
      }
    }
  }
}
