#include <fabric/config/tree/yaml.h>

#include <sstream>
#include <string>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <fabric/config/tree/builder.h>
#include <fabric/config/tree/source_text.h>

namespace fabric::config::detail {
namespace {

constexpr std::string_view kTagPrefix = "tag:yaml.org,2002:";

class Events final : public YAML::EventHandler {
 public:
  explicit Events(std::shared_ptr<const Source> source) : source_(std::move(source)) {}

  Node take() { return builder_.take(); }
  Place place_of(const YAML::Mark& mark) const {
    return mark.is_null() ? Place(source_, 1, 1) : Place(source_, mark.line + 1, mark.column + 1);
  }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (seen_) {
      throw SourceError(place_of(mark),
                        "a second document begins; expected one. Hint: give each in a "
                        "file of its own, by --config.");
    }
    seen_ = true;
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    builder_.null(place_of(mark), anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    builder_.alias(place_of(mark), anchor);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    builder_.scalar(place_of(mark), value, style(mark, tag), anchor);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    check_tag(mark, tag, "seq");
    builder_.begin(Node::Kind::list, place_of(mark), anchor);
  }
  void OnSequenceEnd() override { builder_.end(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    check_tag(mark, tag, "map");
    builder_.begin(Node::Kind::map, place_of(mark), anchor);
  }
  void OnMapEnd() override { builder_.end(); }

 private:
  // "!" stands for quotes, "?" for nothing written.
  Node::Style style(const YAML::Mark& mark, const std::string& tag) const {
    if (tag == "!" || tag == std::string(kTagPrefix) + "str") {
      return Node::Style::quoted;
    }
    for (const char* known : {"int", "float", "bool"}) {
      if (tag == std::string(kTagPrefix) + known) {
        return Node::Style::plain;
      }
    }
    check_tag(mark, tag, "str");
    return Node::Style::plain;
  }
  void check_tag(const YAML::Mark& mark, const std::string& tag, const char* usual) const {
    if (!tag.empty() && tag != "?" && tag != "!" && tag != std::string(kTagPrefix) + usual) {
      throw SourceError(place_of(mark), "a tag that means nothing here; got " + shown(tag) +
                                            ". Hint: drop it; the type of the option decides.");
    }
  }

  std::shared_ptr<const Source> source_;
  Builder builder_;
  bool seen_ = false;
};

std::string_view line_of(std::string_view text, int number) {
  for (; number > 1 && !text.empty(); --number) {
    const std::size_t end = text.find('\n');
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  return text.substr(0, text.find('\n'));
}

// Why a line that YAML cannot read may look right to who wrote it.
std::string hint_for(std::string_view error, std::string_view line) {
  if (line.find("${") != std::string_view::npos) {
    return ". Hint: in [ ] and { } a reference needs quotes: \"${name}\".";
  }
  if (line.find('\t') != std::string_view::npos) {
    return ". Hint: indent by spaces; the line has a tab.";
  }
  if (line.find(": ") != line.rfind(": ")) {
    return ". Hint: a text with ': ' in it needs quotes.";
  }
  if (error == "end of map not found" || error == "illegal map value") {
    return ". Hint: the keys of a section begin in the same column.";
  }
  return ".";
}

}  // namespace

Node read_yaml(std::string_view text, const std::shared_ptr<const Source>& source) {
  check_source_text(text, source);
  std::istringstream stream{std::string(text)};
  Events events(source);
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(events)) {
    }
  } catch (const YAML::Exception& error) {
    const Place place = events.place_of(error.mark);
    throw SourceError(place,
                      "not YAML: " + error.msg + hint_for(error.msg, line_of(text, place.line())));
  }
  return events.take();
}

}  // namespace fabric::config::detail
