// The table of text_rules.md, row by row.
#include <doctest/doctest.h>

#include <chrono>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <variant>
#include <vector>

#include <accelerators/text.h>
#include <fabric/config/tree/builder.h>
#include <fabric/config/tree/emitter.h>
#include <fabric/config/types/read.h>
#include <fabric/config/types/type_of.h>
#include <fabric/config/types/write.h>
#include <tests/support/config.h>

using namespace fabric::config::detail;

namespace {

enum class Activation { relu, gelu, auto_ };

struct Row {
  std::string type, text, results[3];
};

// The cells of a line, without the backticks of the text.
std::vector<std::string> cells_of(const std::string& line) {
  std::vector<std::string> cells;
  std::istringstream stream(line.substr(1));
  for (std::string cell; std::getline(stream, cell, '|');) {
    cells.emplace_back(fabric::detail::trim(cell));
  }
  return cells;
}

std::vector<Row> rows() {
  std::ifstream file(FABRIC_SOURCE_DIR "/fabric/config/text_rules.md");
  REQUIRE(file);
  std::vector<Row> rows;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("| ") && line.find('`') != std::string::npos) {
      const std::vector<std::string> cells = cells_of(line);
      REQUIRE(cells.size() == 5);
      rows.push_back(
          {cells[0], cells[1].substr(1, cells[1].size() - 2), {cells[2], cells[3], cells[4]}});
    }
  }
  return rows;
}

// The value that a node becomes, as YAML has it; "error" where it is refused.
template <class T>
std::string value_of(const Node& node) {
  T value{};
  Problems problems;
  read(type_of<T>(), &value, node, "option", problems);
  if (!problems.empty()) {
    for (const auto& problem : problems.list()) {  // every one says what came and what should
      CHECK_MESSAGE(problem.text.find("got ") != std::string::npos, problem.text);
      CHECK_MESSAGE(problem.text.find("expected ") != std::string::npos, problem.text);
    }
    return "error";
  }
  return one_line(write(type_of<T>(), &value));
}

using ValueOf = std::string (*)(const Node&);

ValueOf value_of_type(const std::string& type) {
  static const std::map<std::string, ValueOf> types{
      {"bool", value_of<bool>},
      {"int", value_of<int>},
      {"unsigned", value_of<std::uint64_t>},
      {"double", value_of<double>},
      {"float", value_of<float>},
      {"text", value_of<std::string>},
      {"optional int", value_of<std::optional<int>>},
      {"optional text", value_of<std::optional<std::string>>},
      {"list of int", value_of<std::vector<int>>},
      {"list of text", value_of<std::vector<std::string>>},
      {"map of double", value_of<std::map<std::string, double>>},
      {"enum", value_of<Activation>},
      {"duration", value_of<std::chrono::milliseconds>},
      {"int or text", value_of<std::variant<std::string, int>>}};
  return types.at(type);
}

Node raw(const std::string& text) {
  auto source = std::make_shared<fabric::config::Source>();
  source->kind = fabric::config::Source::argument;
  Node node = Node::scalar(text, Node::Style::raw);
  node.place = fabric::config::Place(source, 1, 0);
  return node;
}

}  // namespace

TEST_SUITE("fabric.config.text_rules") {
  TEST_CASE("every row of the table holds") {
    const std::vector<Row> table = rows();
    REQUIRE(table.size() > 60);
    for (const Row& row : table) {
      CAPTURE(row.type);
      CAPTURE(row.text);
      const ValueOf value_of = value_of_type(row.type);
      CHECK(value_of(raw(row.text)) == row.results[0]);
      if (row.results[1] != "-") {
        CHECK(value_of(support::yaml(row.text)) == row.results[1]);
      }
      std::string quoted = row.text;
      for (std::size_t at = 0; (at = quoted.find('"', at)) != std::string::npos; at += 2) {
        quoted.insert(at, "\\");
      }
      CHECK(value_of(support::yaml("\"" + quoted + "\"")) == row.results[2]);
    }
  }

  TEST_CASE("hints say how the number is written") {
    const auto hint = [](auto type, const std::string& text) {
      decltype(type) value{};
      Problems problems;
      read(type_of<decltype(type)>(), &value, raw(text), "option", problems);
      REQUIRE(problems.size() == 1);
      return problems.list().front().text;
    };
    CHECK(hint(int(), "1e3") == "got '1e3'; expected int. Hint: write 1000.");
    CHECK(hint(int(), "1_000") == "got '1_000'; expected int. Hint: write 1000.");
    CHECK(hint(double(), "1,5") == "got '1,5'; expected number. Hint: write 1.5.");
    CHECK(hint(bool(), "1") == "got '1'; expected true or false. Hint: write true.");
    CHECK(hint(std::int8_t(), "200") == "out of range; got '200'; expected int from -128 to 127");
    CHECK(hint(std::chrono::seconds(), "90").find("write the unit: 90s.") != std::string::npos);
    CHECK(hint(std::chrono::seconds(), "1m").find("min for minutes") != std::string::npos);
    CHECK(hint(Activation(), "GELU") ==
          "got 'GELU'; expected relu, gelu or auto. Did you mean gelu?");
  }
}
