// Choices as values of a program: copied, made, saved, printed; and what registration refuses.
#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include <tests/support/classes.h>

using classes::Big;
using classes::Config;
using classes::Csv;
using classes::Logger;
using classes::NetImpl;
using classes::Open;
using classes::read;
using classes::Remote;
using fabric::MisconfigurationError;
using support::has;
using support::problems_of;
using support::refusal_of;

TEST_SUITE("fabric.config.classes") {
  TEST_CASE("a class is a value: from options, from a name, or none") {
    const Config config;
    CHECK(config.model.is("Big"));
    CHECK(config.model.get_if<Big::Options>()->depth == 4);
    CHECK(config.model.get_if<NetImpl::Options>() == nullptr);
    CHECK(config.logger.name() == "Csv");
    CHECK_FALSE(config.teacher.has_value());
    CHECK_FALSE(Open().model.has_value());
    const fabric::Class<Logger> remote = Remote{.host = "there"};
    CHECK(remote.make(1)->line() == "there");
    CHECK(has(refusal_of([] { fabric::OneOf<NetImpl, Big> model = "Bigg"; }),
              {"no such class", "got 'Bigg'; expected Net or Big. Did you mean Big?"}));
    CHECK(has(refusal_of([] { fabric::Class<Logger> logger = Big::Options{}; }),
              {"no class of Logger is made from these options", "Csv, Quiet, Remote or Void"}));
    CHECK(has(refusal_of([] { Open().model.make([](const auto&) {}); }), {"no class is chosen"}));
  }

  TEST_CASE("copies are independent") {
    Config config;
    Config copy = config;
    copy.model = "Net";
    copy.model.set("classes", 3);
    fabric::OneOf<NetImpl, Big> other = copy.model;
    other.set("classes", 4);
    CHECK(config.model.is("Big"));
    CHECK(*copy.model.get_if<NetImpl::Options>()->classes == 3);
    CHECK(*other.get_if<NetImpl::Options>()->classes == 4);
  }

  TEST_CASE("what is saved starts the same run") {
    const support::ConfigFolder folder;
    const auto config =
        read(folder, {"--model=Net", "--model.width=3", "--loggers+=Csv", "--named.a=Quiet"});
    folder.write("saved.yaml", config.yaml());
    const auto again = read(folder, {"--config=saved.yaml"});
    CHECK(again.yaml() == config.yaml());
    CHECK(again.resolved().hash() == config.resolved().hash());
    CHECK(has(config.yaml(), {"model:\n  class_path: Net\n  init_args:\n    width: 3\n"}));
    CHECK(config.yaml().find("classes") == std::string::npos);  // provided
    const auto screen = [&](std::vector<std::string> arguments) {
      try {
        read(folder, std::move(arguments));
      } catch (const fabric::config::ScreenRequest& request) {
        return request.screen();
      }
      return std::string();
    };
    CHECK(screen({"--print_config=skip_default"}).find("model") == std::string::npos);
    CHECK(screen({"--print_config=skip_default", "--model=Net"}) == "model:\n  class_path: Net\n");
    CHECK(screen({"--print_config=skip_default", "--model.width=1"}) ==
          "model:\n  class_path: Big\n  init_args:\n    width: 1\n");
    CHECK(has(screen({"--print_config=comments", "--model=Net"}), {"# units of a layer"}));
    CHECK(has(screen({"--help"}),
              {"--model ", "[Net or Big; Big]", "--model.depth", "[int; 4]", "--model.help=NAME"}));
    CHECK(has(screen({"--model.help=Net"}), {"--model=Net", "--model.width", "units of a layer",
                                             "[Encoder or Pooling; Encoder]"}));
    CHECK(screen({"--model.help=Net"}).find("classes") == std::string::npos);
    CHECK(has(screen({"--loggers.help"}), {"--loggers=Csv", "--loggers=Quiet\n  has no options"}));
    CHECK(
        has(problems_of([&] { read(folder, {"--model.help=Foo"}); }), {"no such class", "'Foo'"}));
  }

  TEST_CASE("options are listed with their places") {
    const support::ConfigFolder folder;
    const auto config = read(folder, {"--model=Net", "--model.width=3"});
    std::string lines;
    for (const auto& option : config.options()) {
      lines += option.path + "=" + option.text + (option.changed ? "*" : "") + " ";
    }
    CHECK(has(lines,
              {"model=Net* model.width=3* model.act=relu ", "logger=Csv logger.file=log.csv "}));
    CHECK(config.origin("model").text() == "--model (argument 1)");
    CHECK(config.origin("model.width").text() == "--model.width (argument 2)");
    CHECK(config.origin("model.act").text() == "default");
    CHECK_THROWS_AS(config.origin("model.foo"), MisconfigurationError);
  }

  TEST_CASE("make keeps static types, and passes what the program gives") {
    const support::ConfigFolder folder;
    auto model = read(folder, {"--model=Net", "--model.width=3"})->model;
    const auto make = [&] {
      return model.make(
          [](auto made) {
            if constexpr (std::is_same_v<decltype(made), NetImpl>) {
              return made.options.width * 100 + *made.options.classes * 10 + made.extra;
            } else {
              return -1;
            }
          },
          7);
    };
    CHECK(has(refusal_of(make), {"Net cannot be made yet", "provide classes", "set(\"classes\""}));
    model.set("classes", 2L);
    CHECK(make() == 327);
    CHECK(has(refusal_of([&] { model.set("classes", "many"); }), {"Net.classes", "'many'"}));
    CHECK(has(refusal_of([&] { model.set("width", 3); }), {"is the user's to give"}));
    CHECK(
        has(refusal_of([&] { model.set("clases", 3); }), {"no class of Net or Big has an option"}));
    model = "Big";  // which has no such option
    model.set("classes", 2);
    CHECK(make() == -1);
    CHECK(fabric::Class<Logger>("Csv").make(5)->line() == "log.csv#5");
  }

  TEST_CASE("registration refuses what cannot be told apart") {
    struct Clash {
      int class_path = 1;
    };
    CHECK(has(refusal_of([] { fabric::register_class<Logger, Csv>(); }),
              {"two classes of Logger have the name 'Csv'"}));
    CHECK(has(refusal_of([] { fabric::register_class<Logger, Csv>("a.b"); }), {"'a.b'"}));
    CHECK(has(refusal_of([] { fabric::register_class<Logger, Csv>("Null"); }), {"'Null'"}));
    CHECK(has(refusal_of([] {
                fabric::register_factory<Logger>(
                    "Clash", [](const Clash&, int) { return std::unique_ptr<Logger>(); });
              }),
              {"Clash has an option 'class_path'"}));
    CHECK(fabric::Class<Logger>::classes().names() ==
          std::vector<std::string>{"Csv", "Quiet", "Remote", "Void"});
  }
}
