// Classes by name: how they are given, switched and listed.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include <tests/support/classes.h>

using classes::Big;
using classes::Csv;
using classes::Encoder;
using classes::NetImpl;
using classes::Open;
using classes::read;
using classes::wrong;
using support::has;
using support::problems_of;

TEST_SUITE("fabric.config.classes") {
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
}
