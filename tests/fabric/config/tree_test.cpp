// Texts of YAML and JSON as nodes, what is refused in them, and nodes as YAML again.
#include <doctest/doctest.h>

#include <random>
#include <string>

#include <fabric/config/tree/builder.h>
#include <fabric/config/tree/emitter.h>
#include <fabric/config/tree/json.h>
#include <tests/support/config.h>

using namespace fabric::config::detail;
using support::yaml;

namespace {

std::shared_ptr<const fabric::config::Source> source_of(const char* name) {
  auto source = std::make_shared<fabric::config::Source>();
  source->name = name;
  return source;
}

Node json(std::string_view text) {
  return read_json(text, source_of("in.json"));
}

template <class Read>
std::string refusal(Read&& read) {
  try {
    read();
  } catch (const SourceError& error) {
    return error.place.text() + ": " + error.what();
  }
  return "taken";
}

std::string refused(const std::string& text) {
  return refusal([&] { yaml(text); });
}

std::string repeated(const std::string& text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) {
    all += text;
  }
  return all;
}

// A random tree of what a configuration may have in it.
Node random_node(std::mt19937& random, int depth) {
  const auto number = [&](int below) { return static_cast<int>(random() % below); };
  const auto text = [&] {
    static const char* const kTexts[] = {"",
                                         "a",
                                         "true",
                                         "1e5",
                                         "12:30",
                                         "2024-01-01",
                                         "~",
                                         "null",
                                         "- x",
                                         "a: b",
                                         "#",
                                         "x #y",
                                         "${a}",
                                         "$${a}",
                                         "\"q\"",
                                         "it's",
                                         "a\nb",
                                         "\t",
                                         "é…😀",
                                         "[1]",
                                         "{",
                                         "&a",
                                         "*a",
                                         "!t",
                                         "%",
                                         "@",
                                         "`",
                                         "a,b",
                                         " lead",
                                         "end ",
                                         "0o17",
                                         "0x1f",
                                         "1_000",
                                         ".5",
                                         "-",
                                         "---",
                                         "...",
                                         "y",
                                         "Yes",
                                         ".inf",
                                         "\\",
                                         "a\\nb",
                                         "\x01\x7f",
                                         "<<",
                                         "=",
                                         "key:",
                                         "? a",
                                         "| x",
                                         "\xc2\x85x",
                                         "\xe2\x80\xa8",
                                         "\xef\xbb\xbf",
                                         "> x",
                                         "1.0.0",
                                         "-1",
                                         "+1",
                                         "e5",
                                         "a/b.c"};
    return std::string(kTexts[number(std::size(kTexts))]);
  };
  switch (depth == 0 ? number(2) : number(4)) {
    case 0:
      return Node::scalar(text(), Node::Style::quoted);
    case 1:
      return number(3) == 0 ? Node() : Node::scalar(std::to_string(number(100)));
    case 2: {
      Node list = Node::list();
      for (int i = number(4); i > 0; --i) {
        list.items.push_back(random_node(random, depth - 1));
      }
      return list;
    }
    default: {
      Node map = Node::map();
      for (int i = number(4); i > 0; --i) {
        const std::string key = text() + std::to_string(i);
        map.add(key, random_node(random, depth - 1));
      }
      return map;
    }
  }
}

// The text that `$$` stands for, as references are followed when options are read.
void unescape(Node& node) {
  for (std::size_t at = 0; (at = node.text.find("$${", at)) != std::string::npos; at += 2) {
    node.text.erase(at, 1);
  }
  for (Node& item : node.items) {
    unescape(item);
  }
}

}  // namespace

TEST_SUITE("fabric.config.tree") {
  TEST_CASE("nodes know their places and styles") {
    const Node node = yaml("model:\n  width: 64\n  name: '64'\nlayers: [1, {a: ~}]\n");
    const Node& width = *node.find("model")->find("width");
    CHECK(width.text == "64");
    CHECK(width.style == Node::Style::plain);
    CHECK(width.place.text() == "in.yaml:2:10");
    CHECK(width.key_place.text() == "in.yaml:2:3");
    CHECK(node.find("model")->find("name")->style == Node::Style::quoted);
    CHECK(node.find("layers")->items[1].find("a")->is_null());
    CHECK(yaml("").is_null());
    CHECK(yaml("layers+: [1]").find("layers")->append);
    CHECK(yaml("a: &x [1, 2]\nb: *x\n").find("b")->same_value(*yaml("b: [1, 2]").find("b")));
  }

  TEST_CASE("what YAML allows and no configuration needs is refused with a place") {
    CHECK(refused("a: 1\nb: 2\na: 3\n") ==
          "in.yaml:3:1: the key 'a' comes twice; the first is at in.yaml:1:1");
    CHECK(support::has(refused("x: &x {a: 1}\ny:\n  <<: *x\n"), {"in.yaml:3:3", "merge keys"}));
    CHECK(support::has(refused("a: 1\n---\nb: 2\n"), {"a second document begins"}));
    CHECK(support::has(refused("? [1, 2]\n: 3\n"), {"a key is not a text"}));
    CHECK(support::has(refused("a: !python/object:os.system x\n"), {"in.yaml:1", "a tag"}));
    CHECK(support::has(refused("a: &a [*a]\n"), {"a part of the text that it is in itself"}));
    CHECK(support::has(refused(repeated("[", 200) + repeated("]", 200)), {"100 deep"}));
    CHECK(support::has(refused("a: [1, ${b}]\n"),
                       {"in.yaml:1", "not YAML", "a reference needs quotes"}));
    CHECK(support::has(refused("a:\n\tb: 1\n"), {"in.yaml:2", "the line has a tab"}));
    CHECK(support::has(refused("a: b: c\n"), {"in.yaml:1", "needs quotes"}));
    CHECK(support::has(refused("a: 1\nb: \xff\n"), {"in.yaml:2:1", "UTF-8"}));
    CHECK(support::has(refused("a: \"x\\0\""), {"in.yaml:1:4: not a text"}));
    CHECK(support::has(refused("a: \"\\N\""), {"in.yaml:1:4: not a text"}));
    CHECK(support::has(refusal([] { json("{\"a\": \"\\u0000\"}"); }), {"in.json:1:7: not a text"}));
    CHECK(support::has(refused("a: x\\\n" + std::string(1, '\0')), {"not a text"}));
  }

  TEST_CASE("aliases cannot make a small text large") {
    std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
    for (int i = 1; i < 9; ++i) {
      const std::string before = "*a" + std::to_string(i - 1);
      bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + before;
      for (int j = 0; j < 9; ++j) {
        bomb += ", " + before;
      }
      bomb += "]\n";
    }
    CHECK(support::has(refused(bomb), {"aliases stand for more than 4 MiB"}));
  }

  TEST_CASE("JSON becomes the same nodes with places") {
    const Node node =
        json("{\n  \"a\": [1, 2.50, true, null, \"1\"],\n  \"b\": {\"c\": -1e3}\n}\n");
    CHECK(node.same_value(yaml("a: [1, 2.50, true, null, '1']\nb: {c: -1e3}\n")));
    CHECK(node.find("b")->find("c")->place.text() == "in.json:3:14");
    CHECK(node.find("a")->items[4].style == Node::Style::quoted);
    CHECK(refusal([] { json("{\"a\": 1, \"a\": 2}"); }) ==
          "in.json:1:10: the key 'a' comes twice; the first is at in.json:1:2");
    CHECK(support::has(refusal([] { json("{\"a\": 1,\n}"); }), {"in.json:2:1: not JSON"}));
    CHECK(support::has(refusal([] { json("{\"a\": 01}"); }), {"not JSON"}));
    CHECK(support::has(refusal([] { json(repeated("[", 100000)); }), {"100 deep"}));
  }

  TEST_CASE("a line that is written is as YAML 1.1 and 1.2 read it") {
    const auto text = [](const char* value) {
      return yaml_scalar(Node::scalar(value, Node::Style::quoted));
    };
    CHECK(text("bf16-mixed") == "bf16-mixed");
    CHECK(text("a/b.c") == "a/b.c");
    for (const char* other : {"true", "no", "y", "1e5", "1_000", "12:30", "2024-01-01", "0x1F", "",
                              "~", ".inf", "-1", "1.", "null", "NULL"}) {
      CHECK(text(other) == "\"" + std::string(other) + "\"");
    }
    CHECK(text("a\nb\"") == "\"a\\nb\\\"\"");
  }

  TEST_CASE("long keys and empty lists keep their kind") {
    Node map = Node::map();
    map.add(repeated("key ", 60) + "end", Node::list());
    CHECK(yaml(to_yaml(map)).same_value(map));
    map.add(repeated("\x17", 250), Node::list());
    CHECK(yaml(to_yaml(map)).same_value(map));
    CHECK(support::has(refused(repeated("k", 251) + ": 1"), {"a key has 251 bytes"}));
  }

  TEST_CASE("trees are read as they were written") {
    std::mt19937 random(17);
    for (int i = 0; i < 3000; ++i) {
      Node map = Node::map();
      map.add("root", random_node(random, 4));
      const std::string text = to_yaml(map);
      CAPTURE(text);
      Node read = yaml(text);
      unescape(read);
      CHECK(read.same_value(map));
    }
  }
}
