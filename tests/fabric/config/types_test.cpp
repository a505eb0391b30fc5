// Types that are described by tables: foreign options, texts, structs that hold themselves.
#include <doctest/doctest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fabric/config.h>
#include <tests/support/config.h>

using fabric::config::Parser;
using support::has;
using support::problems_of;

namespace foreign {

// In the manner of LibTorch's options.
class Options {
 public:
  explicit Options(double lr = 0.01) : lr_(lr) {}
  const double& lr() const { return lr_; }
  double& lr() { return lr_; }
  Options& lr(const double& value) {
    lr_ = value;
    return *this;
  }
  const std::tuple<double, double>& betas() const { return betas_; }
  std::tuple<double, double>& betas() { return betas_; }
  Options& betas(const std::tuple<double, double>& value) {
    betas_ = value;
    return *this;
  }
  bool amsgrad() const { return amsgrad_; }
  Options& amsgrad(bool value) {
    amsgrad_ = value;
    ++times_set;
    return *this;
  }
  int times_set = 0;

 private:
  double lr_;
  std::tuple<double, double> betas_{0.9, 0.999};
  bool amsgrad_ = false;
};

struct Uri {
  Uri() = default;
  explicit Uri(std::string text) : text(std::move(text)) {}
  std::string text{};
  virtual ~Uri() = default;  // no aggregate
};

struct Plain {
  int width = 3;
  int class_ = 4;  // C++ has the word for itself
};

}  // namespace foreign

FABRIC_EXTERNAL_OPTIONS(foreign::Options, lr, betas, amsgrad)

template <>
struct fabric::config::TextForm<foreign::Uri> {
  static constexpr const char* name = "URI";
  static foreign::Uri from_text(std::string_view text) {
    if (text.find("://") == std::string_view::npos) {
      throw std::runtime_error("there is no scheme in it");
    }
    return foreign::Uri(std::string(text));
  }
  static std::string to_text(const foreign::Uri& uri) { return uri.text; }
};

template <>
struct fabric::config::Help<foreign::Plain> {
  static constexpr FieldHelp fields[] = {{"width", "units of somebody else"}};
};

template <>
struct fabric::config::Help<foreign::Options> {
  static constexpr FieldHelp fields[] = {{"lr", "how far a step goes"}};
};

namespace {

enum class Level : unsigned char { low = 3, high = 7, none_ = 100 };
enum Plain { one, two };

struct Tree {
  int value = 0;
  std::vector<Tree> children{};
};

// In the manner of FabricOptions.
struct Start {
  std::string devices = "auto";
  std::optional<int> num_nodes{};
  foreign::Plain plain{};
  fabric::config::Resolved resolved{};
  static constexpr const char* kVariables = "START_";
};

struct Config {
  foreign::Options optimizer{};
  foreign::Uri uri{"http://here"};
  foreign::Plain plain{};
  Level level = Level::low;
  Plain small = one;
  Tree tree{};
  Start start{};
};

auto read(std::vector<std::string> arguments,
          std::vector<std::pair<std::string, std::string>> variables = {}) {
  const support::ConfigFolder folder;
  return Parser<Config>({.environment = "APP_"})
      .read(folder.inputs(std::move(arguments), std::move(variables)));
}

std::string wrong(std::vector<std::string> arguments) {
  return problems_of([&] { read(std::move(arguments)); });
}

std::string help() {
  try {
    read({"--help"});
  } catch (const fabric::config::ScreenRequest& request) {
    return request.screen();
  }
  return {};
}

}  // namespace

TEST_SUITE("fabric.config.types") {
  TEST_CASE("options behind getters and setters are a section") {
    const auto config = read({"--optimizer.betas=0.5,0.6", "--optimizer.amsgrad=true"});
    CHECK(config->optimizer.lr() == 0.01);
    CHECK(config->optimizer.betas() == std::tuple(0.5, 0.6));
    CHECK(config->optimizer.amsgrad());
    CHECK(config->optimizer.times_set == 1);  // once, by its setter
    CHECK(read({})->optimizer.times_set == 0);
    CHECK(has(config.yaml(), {"optimizer:\n  lr: 0.01\n  betas: [0.5, 0.6]\n  amsgrad: true\n"}));
    CHECK(has(wrong({"--optimizer.betas=[1]"}), {"got a list of 1; expected list of 2 numbers"}));
    CHECK(has(wrong({"--optimizer.lrs=1"}), {"Did you mean --optimizer.lr?"}));
  }

  TEST_CASE("somebody else's type that is one text") {
    CHECK(read({"--uri=ftp://there"})->uri.text == "ftp://there");
    CHECK(has(wrong({"--uri=there"}),
              {"--uri (argument 1): got 'there'; expected URI: there is no scheme in it"}));
    CHECK(has(read({}).yaml(), {"uri: \"http://here\"\n"}));
  }

  TEST_CASE("help comes from both kinds of declarations") {
    CHECK(has(help(), {"units of somebody else [int; 3]", "how far a step goes [number; 0.01]",
                       "[URI; \"http://here\"]", "--plain.class "}));
  }

  TEST_CASE("names in texts leave out the underscore after a word of C++") {
    CHECK(read({"--plain.class=9"})->plain.class_ == 9);
    CHECK(has(wrong({"--plain.class_=9"}), {"no such option. Did you mean --plain.class?"}));
    CHECK(read({"--level=none"})->level == Level::none_);
    CHECK(read({"--level=high"})->level == Level::high);
    CHECK(read({"--small=two"})->small == two);
    CHECK(has(wrong({"--level=3"}), {"got '3'; expected low, high or none"}));
  }

  TEST_CASE("a struct may hold a list of itself") {
    const auto config = read({"--tree={value: 1, children: [{value: 2, children: [{value: 3}]}]}"});
    CHECK(config->tree.children[0].children[0].value == 3);
    CHECK(has(config.yaml(),
              {"  children:\n  - {value: 2, children: [{value: 3, children: []}]}\n"}));
  }

  TEST_CASE("variables of a struct count below those of the program and below arguments") {
    const std::vector<std::pair<std::string, std::string>> variables{{"START_DEVICES", "1"},
                                                                     {"START_NUM_NODES", "2"}};
    CHECK(read({}, variables)->start.devices == "1");
    CHECK(read({}, variables)->start.num_nodes == 2);
    CHECK(read({}, variables).origin("start.devices").text() == "START_DEVICES");
    CHECK(read({"--start.devices=4"}, variables)->start.devices == "4");
    auto both = variables;
    both.emplace_back("APP_START__DEVICES", "3");
    CHECK(read({}, both)->start.devices == "3");
    CHECK(has(problems_of([] {
                read({}, {{"START_NUM_NODES", "many"}});
              }),
              {"START_NUM_NODES: start.num_nodes: got 'many'; expected int"}));
  }

  TEST_CASE("help names the variables of a struct") {
    CHECK(has(help(), {"START_… give options of start, such as START_DEVICES.\n"}));
  }

  TEST_CASE("a struct that asks is told what it is a part of") {
    const auto config = read({"--start.devices=2"});
    REQUIRE(config->start.resolved);
    CHECK(config->start.resolved.section() == "start");
    CHECK(config->start.resolved.origin("start.devices").text() == "--start.devices (argument 1)");
    CHECK(config->start.resolved.hash() == config.resolved().hash());
    CHECK_FALSE(static_cast<bool>(Start().resolved));
    CHECK_FALSE(has(config.yaml(), {"resolved"}));
    CHECK_FALSE(has(help(), {"resolved"}));
    CHECK(has(wrong({"--start.resolved=1"}), {"no such option"}));
  }

  TEST_CASE("options say which of them are not the default") {
    std::string changed;
    for (const fabric::config::Option& option :
         read({"--plain.width=5", "--plain.class=4"}).options()) {
      changed += option.changed ? option.path + "=" + option.text + " " : "";
    }
    CHECK(changed == "plain.width=5 ");
  }
}
