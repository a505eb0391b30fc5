#include <fabric/config/tree/json.h>

#include <algorithm>
#include <string>

#include <nlohmann/json.hpp>

#include <fabric/config/tree/builder.h>
#include <fabric/config/tree/source_text.h>

namespace fabric::config::detail {
namespace {

/// Follows the parser through the text: its events do not say where they are. It has checked the
/// tokens, so that their ends are easy to find.
class Cursor {
 public:
  Cursor(std::string_view text, std::shared_ptr<const Source> source)
      : text_(text), source_(std::move(source)) {}

  /// The place of the next token, and the token itself, which is passed.
  Place next(std::string_view& token) {
    pass(text_.find_first_not_of(" \t\r\n,:", at_));
    const Place place(source_, line_, static_cast<int>(at_ - line_begin_) + 1);
    const std::size_t begin = at_;
    if (begin == text_.size()) {
      token = {};
      return place;
    }
    std::size_t end = begin + 1;
    if (text_[begin] == '"') {
      while (text_[end] != '"') {
        end += text_[end] == '\\' ? 2 : 1;
      }
      ++end;
    } else if (std::string_view("[]{}").find(text_[begin]) == std::string_view::npos) {
      end = std::min(text_.find_first_of(" \t\r\n,]}", begin), text_.size());
    }
    at_ = end;
    token = text_.substr(begin, end - begin);
    return place;
  }
  Place next() {
    std::string_view token;
    return next(token);
  }
  /// The place of a byte that is not passed yet.
  Place place_of(std::size_t position) {
    pass(std::max(at_, std::min(position, text_.size())));
    return {source_, line_, static_cast<int>(at_ - line_begin_) + 1};
  }

 private:
  void pass(std::size_t to) {
    for (to = std::min(to, text_.size()); at_ < to; ++at_) {
      if (text_[at_] == '\n') {
        ++line_;
        line_begin_ = at_ + 1;
      }
    }
  }

  std::string_view text_;
  std::shared_ptr<const Source> source_;
  std::size_t at_ = 0;
  std::size_t line_begin_ = 0;
  int line_ = 1;
};

class Events final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Events(Cursor cursor) : cursor_(std::move(cursor)) {}

  Node take() { return builder_.take(); }

  bool null() override {
    builder_.null(cursor_.next());
    return true;
  }
  bool boolean(bool) override { return plain(); }
  bool number_integer(number_integer_t) override { return plain(); }
  bool number_unsigned(number_unsigned_t) override { return plain(); }
  bool number_float(number_float_t, const string_t&) override { return plain(); }
  bool string(string_t& value) override { return quoted(value); }
  bool key(string_t& value) override { return quoted(value); }
  bool binary(binary_t&) override { return false; }  // JSON has none
  bool start_object(std::size_t) override { return begin(Node::Kind::map); }
  bool start_array(std::size_t) override { return begin(Node::Kind::list); }
  bool end_object() override { return end(); }
  bool end_array() override { return end(); }
  bool parse_error(std::size_t position, const std::string& token,
                   const nlohmann::json::exception&) override {
    throw SourceError(cursor_.place_of(position == 0 ? 0 : position - 1),
                      "not JSON; got " + shown(token));
  }

 private:
  bool plain() {
    std::string_view token;
    const Place place = cursor_.next(token);
    builder_.scalar(place, std::string(token), Node::Style::plain);
    return true;
  }
  bool quoted(std::string& value) {
    builder_.scalar(cursor_.next(), std::move(value), Node::Style::quoted);
    return true;
  }
  bool begin(Node::Kind kind) {
    builder_.begin(kind, cursor_.next());
    return true;
  }
  bool end() {
    cursor_.next();
    builder_.end();
    return true;
  }

  Cursor cursor_;
  Builder builder_;
};

}  // namespace

Node read_json(std::string_view text, const std::shared_ptr<const Source>& source) {
  check_source_text(text, source);
  if (text.starts_with("\xef\xbb\xbf")) {  // a byte order mark
    text.remove_prefix(3);
  }
  if (is_blank(text)) {
    return {};
  }
  Events events(Cursor(text, source));
  nlohmann::json::sax_parse(text.begin(), text.end(), &events);
  return events.take();
}

}  // namespace fabric::config::detail
