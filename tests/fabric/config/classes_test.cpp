// Classes by name: how they are given, switched, listed, registered and made.
#include <doctest/doctest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include <fabric/config.h>
#include <tests/support/config.h>

using fabric::MisconfigurationError;
using fabric::config::Parser;
using support::has;
using support::problems_of;
using support::refusal_of;

namespace {

struct Encoder {
  struct Options {
    int size = 5;
  };
  explicit Encoder(const Options& options) : size(options.size) {}
  int size;
};
struct Pooling {};  // made from nothing

struct NetImpl {
  struct Options {
    int width = 64;
    FABRIC_HELP(width, "units of a layer")
    std::string act = "relu";
    fabric::Provided<int> classes{};
    fabric::OneOf<Encoder, Pooling> encoder = "Encoder";

    std::string invalid() const { return width > 0 ? "" : "width is above 0"; }
  };
  explicit NetImpl(const Options& options, int extra = 0) : options(options), extra(extra) {}
  Options options;
  int extra;
};

struct Big {
  struct Options {
    int depth = 2;
    std::vector<int> layers{1, 2};
    double act = 0.5;  // another type than Net's
    int width = 8;
  };
  explicit Big(const Options& options, int = 0) : options(options) {}
  Options options;
};

struct Logger {
  virtual ~Logger() = default;
  virtual std::string line() const = 0;
};
struct Csv : Logger {
  struct Options {
    std::string file = "log.csv";
    int every = 1;
  };
  Csv(const Options& options, int run) : options(options), run(run) {}
  std::string line() const override { return options.file + "#" + std::to_string(run); }
  Options options;
  int run;
};
struct Quiet : Logger {
  explicit Quiet(int) {}
  std::string line() const override { return "quiet"; }
};
struct Remote {  // somebody else's
  std::string host = "here";
};
struct RemoteLogger : Logger {
  explicit RemoteLogger(std::string host) : host(std::move(host)) {}
  std::string line() const override { return host; }
  std::string host;
};

}  // namespace

template <>
struct fabric::Construct<Logger> {
  using Args = std::tuple<int>;
};

namespace {

const bool registered = [] {
  fabric::register_class<Logger, Csv>();
  fabric::register_class<Logger, Quiet>("Quiet");
  fabric::register_factory<Logger>("Remote", [](const Remote& options, int) {
    return std::make_unique<RemoteLogger>(options.host);
  });
  fabric::register_factory<Logger>("Void",
                                   [](int) { return std::make_shared<RemoteLogger>("void"); });
  return true;
}();

struct Config {
  int epochs = 3;
  fabric::OneOf<NetImpl, Big> model = Big::Options{.depth = 4};
  std::optional<fabric::OneOf<NetImpl, Big>> teacher{};
  fabric::Class<Logger> logger = "Csv";
  std::vector<fabric::Class<Logger>> loggers{"Quiet"};
  std::map<std::string, fabric::Class<Logger>> named{};
};

struct Open {
  fabric::OneOf<NetImpl, Big> model{};
};

template <class T = Config>
auto read(const support::ConfigFolder& folder, std::vector<std::string> arguments,
          std::vector<std::pair<std::string, std::string>> variables = {},
          fabric::config::ParserOptions options = {}) {
  return Parser<T>(std::move(options))
      .read(folder.inputs(std::move(arguments), std::move(variables)));
}

template <class T = Config>
std::string wrong(std::vector<std::string> arguments) {
  const support::ConfigFolder folder;
  return problems_of([&] { read<T>(folder, arguments); });
}

}  // namespace

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

  TEST_CASE("names, blocks, the short form and paths are the same") {
    const support::ConfigFolder folder;
    folder.write("long.yaml", "model:\n  class_path: Net\n  init_args:\n    width: 3\n");
    folder.write("short.yaml", "model: {width: 3, class_path: Net}\n");
    folder.write("dots.yaml", "model.class_path: Net\nmodel.init_args.width: 3\n");
    folder.write("model.yaml", "class_path: Net\ninit_args: {width: 3}\n");
    folder.write("args.yaml", "width: 3\n");
    folder.write("name.yaml", "model: Net\nmodel.width: 3\n");
    for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
             {"--config=long.yaml"},
             {"--config=short.yaml"},
             {"--config=dots.yaml"},
             {"--model=model.yaml"},
             {"--model", "Net", "--model.width", "3"},
             {"--model.width", "3", "--model", "Net"},
             {"--model.init_args.width=3", "--model.class_path=Net"},
             {"--model={class_path: Net, init_args: {width: 3}}"},
             {"--model={class_path: Net, width: 3}"},
             {"--model=Net", "--model.init_args={width: 3}"},
             {"--model=Net", "--model.init_args=./args.yaml"}}) {
      CAPTURE(arguments.front());
      const auto config = read(folder, arguments);
      CHECK(config->model.is("Net"));
      CHECK(config->model.get_if<NetImpl::Options>()->width == 3);
    }
    const auto both = read(folder, {"--config={model: {class_path: Net, width: 5}}",
                                    "--config={model: {init_args: {width: 6}}}"});
    CHECK(both->model.get_if<NetImpl::Options>()->width == 6);
  }

  TEST_CASE("options without a class are those of the class that the program chooses") {
    const support::ConfigFolder folder;
    const auto config = read(folder, {"--model.layers+=7"});
    CHECK(config->model.get_if<Big::Options>()->depth == 4);
    CHECK(config->model.get_if<Big::Options>()->layers == std::vector<int>{1, 2, 7});
    // The program's own values count for its own class only.
    CHECK(read(folder, {"--model=Big"})->model.get_if<Big::Options>()->depth == 4);
    CHECK(read(folder, {"--model=Net", "--model=Big", "--model.layers+=7"})
              ->model.get_if<Big::Options>()
              ->layers == std::vector<int>{1, 2, 7});
  }

  TEST_CASE("a class that is switched keeps what the new one takes, and says what it drops") {
    const support::ConfigFolder folder;
    folder.write("net.yaml", "model:\n  class_path: Net\n  width: 3\n  act: tanh\n");
    const auto config = read(folder, {"--config=net.yaml", "--model=Big"});
    CHECK(config->model.get_if<Big::Options>()->width == 3);
    CHECK(config->model.get_if<Big::Options>()->act == 0.5);  // 'tanh' is no number
    REQUIRE(config.notes().size() == 1);
    CHECK(config.notes().front() ==
          "model is Big (--model (argument 2)), no longer Net; dropped: act (net.yaml:4:8)");
    // What the class before has by default is no value that was given.
    CHECK(read(folder, {"--model=Net", "--model=Big"})->model.get_if<Big::Options>()->width == 8);
    CHECK(read(folder, {"--model=Net", "--model=Big"}).notes().empty());
    // Of the first class on the same command line.
    CHECK(read(folder, {"--model=Net", "--model.act=x", "--model=Big"}).notes().size() == 1);
    // Given with the class, before or behind it.
    for (const std::vector<std::string>& arguments :
         std::vector<std::vector<std::string>>{{"--model=Big", "--model.encoder=Pooling"},
                                               {"--model.encoder=Pooling", "--model=Big"}}) {
      CHECK(has(problems_of([&] { read(folder, arguments); }),
                {"--model.encoder (argument", "the class Big has no such option"}));
    }
    CHECK(has(problems_of([&] {
                read(folder, {"--model=Big", "--config=net.yaml"});
              }).append("none"),
              {"none"}));
    CHECK(has(problems_of([&] {
                read(folder, {"--model=Big", "--config={model: {act: x}}"});
              }),
              {"--config (argument 2)", "model.act", "got 'x'"}));
  }

  TEST_CASE("a file may come twice around one that chooses another class") {
    const support::ConfigFolder folder;
    folder.write("net.yaml", "model: {class_path: Net, width: 3}\n");
    folder.write("big.yaml", "model: {class_path: Big, depth: 9}\n");
    const auto config =
        read(folder, {"--config=net.yaml", "--config=big.yaml", "--config=net.yaml"});
    CHECK(config->model.get_if<NetImpl::Options>()->width == 3);
    const auto last = read(folder, {"--config=big.yaml", "--config=net.yaml", "--config=big.yaml"});
    CHECK(last->model.get_if<Big::Options>()->depth == 9);
    CHECK(last->model.get_if<Big::Options>()->width == 3);  // of net.yaml, which Big takes too
  }

  TEST_CASE("classes within classes") {
    const support::ConfigFolder folder;
    const auto config =
        read(folder, {"--model.encoder.size=7", "--model.encoder=Encoder", "--model=Net"});
    const auto& encoder = config->model.get_if<NetImpl::Options>()->encoder;
    CHECK(encoder.get_if<Encoder::Options>()->size == 7);
    CHECK(config.origin("model.encoder.size").text() == "--model.encoder.size (argument 1)");
    CHECK(read(folder, {"--model=Net", "--model.encoder=Pooling"})
              ->model.get_if<NetImpl::Options>()
              ->encoder.is("Pooling"));
    CHECK(has(problems_of([&] {
                read(folder, {"--model=Net", "--model.encoder=Pooling", "--model.encoder.size=1"});
              }),
              {"--model.encoder.size (argument 3): the class Pooling has no such option"}));
  }

  TEST_CASE("errors name the class and what was probably meant") {
    CHECK(has(wrong({"--model=Bgi"}),
              {"--model (argument 1): no such class; got 'Bgi'; expected Net or Big. Did you mean "
               "Big?"}));
    CHECK(has(wrong({"--model.dpeth=3"}),
              {"--model.dpeth (argument 1): the class Big has no such option. Did you mean "
               "model.depth?"}));
    CHECK(has(wrong({"--model.depth=x"}), {"--model.depth (argument 1): got 'x'; expected int"}));
    CHECK(has(wrong({"--model=Net", "--model.width=0"}),
              {"--model (argument 1)", "width is above 0"}));
    CHECK(has(wrong({"--model=[1]"}), {"no such class"}));
    CHECK(has(wrong({"--model=null"}), {"got 'null'; expected Net or Big"}));
    CHECK(has(wrong({"--model.class_path=[Net]"}), {"no such class"}));
    CHECK(has(wrong({"--model"}), {"needs a value; expected Net or Big"}));
    CHECK(has(wrong({"--model=none.yaml"}), {"the file 'none.yaml' cannot be read"}));
    CHECK(
        has(wrong<Open>({}), {"model: a value is missing; expected Net or Big. Hint: --model=…"}));
    CHECK(has(wrong<Open>({"--model.width=3"}), {"options without a class; expected Net or Big"}));
    CHECK(has(wrong({"--model=Net", "--model.width=1", "--model.classes=3"}),
              {"--model.classes (argument 3): the program provides it; it cannot be given"}));
    const support::ConfigFolder folder;
    folder.write("refers.yaml", "model:\n  class_path: ${logger}\n");
    CHECK(has(problems_of([&] { read(folder, {"--config=refers.yaml"}); }),
              {"refers.yaml:2:15: model: a class is named itself; got '${logger}'"}));
    folder.write("twice.yaml", "model: {class_path: Big, depth: 1, init_args: {depth: 2}}\n");
    CHECK(has(problems_of([&] { read(folder, {"--config=twice.yaml"}); }),
              {"model.depth", "comes twice"}));
  }

  TEST_CASE("options that a file has before any class is chosen are those of the class to come") {
    const support::ConfigFolder folder;
    folder.write("width.yaml", "model: {width: 9}\n");
    const auto config = read<Open>(folder, {"--config=width.yaml", "--model=Net"});
    CHECK(config->model.get_if<NetImpl::Options>()->width == 9);
    folder.write("wrong.yaml", "model: {wdith: 9}\n");
    CHECK(has(problems_of([&] {
                read<Open>(folder, {"--config=wrong.yaml", "--model=Net"});
              }),
              {"wrong.yaml:1:9: model.wdith: the class Net has no such option"}));
  }

  TEST_CASE("a choice that may be left out") {
    const support::ConfigFolder folder;
    CHECK_FALSE(read(folder, {})->teacher.has_value());
    CHECK(read(folder, {"--teacher=Net"})->teacher->is("Net"));
    CHECK_FALSE(read(folder, {"--teacher=Net", "--teacher=null"})->teacher.has_value());
    CHECK(has(wrong({"--teacher.width=3"}), {"options without a class"}));
  }

  TEST_CASE("lists and maps of classes") {
    const support::ConfigFolder folder;
    const auto appended =
        read(folder, {"--loggers+=Csv", "--loggers.file=x", "--loggers+=Remote", "--loggers.host=y",
                      "--loggers+={class_path: Csv, every: 2}"});
    const auto& loggers = appended->loggers;
    REQUIRE(loggers.size() == 4);
    CHECK(loggers[0].is("Quiet"));
    CHECK(loggers[1].make(2)->line() == "x#2");
    CHECK(loggers[2].make(2)->line() == "y");
    CHECK(loggers[3].get_if<Csv::Options>()->every == 2);
    const auto replaced =
        read(folder, {"--loggers=[Void, {class_path: Csv, init_args: {every: 4}}]"});
    REQUIRE(replaced->loggers.size() == 2);
    CHECK(replaced->loggers[0].make(1)->line() == "void");
    CHECK(replaced->loggers[1].get_if<Csv::Options>()->every == 4);
    CHECK(has(wrong({"--loggers+=Cvs"}), {"no such class; got 'Cvs'"}));
    CHECK(has(wrong({"--loggers=[]", "--loggers.file=x"}), {"loggers has no element yet"}));
    CHECK(has(wrong({"--loggers.file=x"}), {"the class Quiet has no such option"}));
    const auto named = read(folder, {"--named.a=Csv", "--named.a.every=7", "--named.b=Quiet"});
    CHECK(named->named.at("a").get_if<Csv::Options>()->every == 7);
    CHECK(named->named.at("b").is("Quiet"));
  }

  TEST_CASE("variables choose classes and give their options") {
    const support::ConfigFolder folder;
    const auto config = read(folder, {}, {{"APP_MODEL", "Net"}, {"APP_MODEL__WIDTH", "3"}},
                             {.environment = "APP_"});
    CHECK(config->model.get_if<NetImpl::Options>()->width == 3);
    CHECK(config.notes().empty());
    CHECK(config.origin("model").text() == "APP_MODEL");
  }

  TEST_CASE("references go through classes, and into them") {
    const support::ConfigFolder folder;
    const auto config = read(folder, {"--model.depth=${epochs}",
                                      "--epochs=${model.init_args.width}", "--model.width=6"});
    CHECK(config->epochs == 6);
    CHECK(config->model.get_if<Big::Options>()->depth == 6);
    CHECK(read(folder, {"--model=Net", "--model.width=5", "--teacher=${model}"})
              ->teacher->get_if<NetImpl::Options>()
              ->width == 5);
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
