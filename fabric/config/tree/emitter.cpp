#include <fabric/config/tree/emitter.h>

#include <algorithm>
#include <cctype>

namespace fabric::config::detail {
namespace {

constexpr std::size_t kLine = 96;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// Whether a plain scalar may consist of these characters, in any place of a document.
bool is_simple(std::string_view text) {
  const auto inner = [](char c) {
    return is_letter(c) || is_digit(c) ||
           std::string_view("_-./+@=()<>*$;~ ").find(c) != std::string_view::npos;
  };
  return !text.empty() &&
         (is_letter(text[0]) || is_digit(text[0]) || text[0] == '_' || text[0] == '/' ||
          text[0] == '.') &&
         text.back() != ' ' && std::all_of(text.begin(), text.end(), inner) && text != "---" &&
         text != "...";
}

// Characters of several bytes that some readers of YAML take for line ends or for nothing: those
// below U+00A0, the line and paragraph separators, and the byte order mark.
struct Escape {
  std::string_view bytes, text;
};
constexpr Escape kEscapes[] = {
    {"\xe2\x80\xa8", "\\u2028"}, {"\xe2\x80\xa9", "\\u2029"}, {"\xef\xbb\xbf", "\\ufeff"}};

std::string double_quoted(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string quoted = "\"";
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const auto byte = static_cast<unsigned char>(c);
    const auto next = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : 0);
    const auto known = std::find_if(
        std::begin(kEscapes), std::end(kEscapes),
        [&](const Escape& escape) { return text.substr(i).starts_with(escape.bytes); });
    if (known != std::end(kEscapes)) {
      quoted += known->text;
      i += known->bytes.size() - 1;
    } else if (byte == 0xc2 && next >= 0x80 && next < 0xa0) {
      quoted += {'\\', 'x', kHex[next >> 4], kHex[next & 15]};
      ++i;
    } else if (c == '"' || c == '\\') {
      quoted += {'\\', c};
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (c == '\t') {
      quoted += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      quoted += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

// A text, in quotes where it would read as something else.
std::string written(std::string_view text) {
  return is_simple(text) && !reads_as_other(text) ? std::string(text) : double_quoted(text);
}

class Writer {
 public:
  explicit Writer(const CommentOf& comment_of) : comment_of_(comment_of) {}

  void map(const Node& node, const std::string& indent, const std::string& path) {
    for (const Node& item : node.items) {
      const std::string here = path.empty() ? item.key : path + "." + item.key;
      if (const std::string comment = comment_of_ ? comment_of_(here) : ""; !comment.empty()) {
        text_ += indent + "# " + comment + "\n";
      }
      if (item.style == Node::Style::opaque) {
        text_ += indent + "# " + item.key + ": set in the program to " + shown(item.text) +
                 ", which no text stands for\n";
      } else {
        text_ += indent + written(item.key) + ":";
        value(item, indent, here);
      }
    }
  }

  std::string take() { return std::move(text_); }

 private:
  // After "key:" or "-".
  void value(const Node& node, const std::string& indent, const std::string& path) {
    if (node.is_map() && !node.items.empty()) {
      text_ += "\n";
      map(node, indent + "  ", path);
    } else if (node.is_list() && !node.items.empty() &&
               !fits(node, indent.size() + node.key.size())) {
      text_ += "\n";
      for (const Node& item : node.items) {
        text_ += indent + "- " + one_line(item) + "\n";
      }
    } else {
      text_ += " " + one_line(node) + "\n";
    }
  }

  bool fits(const Node& list, std::size_t before) const {
    const bool flat = std::none_of(list.items.begin(), list.items.end(), [](const Node& item) {
      return (item.is_list() || item.is_map()) && !item.items.empty();
    });
    return flat && before + one_line(list).size() + 2 <= kLine;
  }

  const CommentOf& comment_of_;
  std::string text_;
};

}  // namespace

std::string escape_references(std::string text) {
  for (std::size_t at = text.find("${"); at != std::string::npos; at = text.find("${", at + 3)) {
    text.insert(at, "$");
  }
  return text;
}

bool reads_as_other(std::string_view text) {
  // Numbers of any kind, times and dates begin so; texts that begin so ("3d", ".git") lose nothing
  // by quotes, unless they have a letter that no number has.
  const std::string_view digits = text.substr(std::min(text.find_first_not_of("+-."), text.size()));
  if (!digits.empty() && is_digit(digits[0]) &&
      text.find_first_not_of("0123456789+-.,:_xXoObBeEabcdfABCDF ") == std::string_view::npos) {
    return true;
  }
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  constexpr std::string_view kWords[] = {"",     "~",   "null", "true", "false", "yes",   "no",
                                         "on",   "off", "y",    "n",    ".inf",  "-.inf", "+.inf",
                                         ".nan", "inf", "-inf", "+inf", "nan"};
  return std::find(std::begin(kWords), std::end(kWords), lower) != std::end(kWords);
}

std::string yaml_scalar(const Node& scalar) {
  if (scalar.is_null()) {
    return "null";
  }
  const std::string text = escape_references(scalar.text);
  return scalar.style == Node::Style::plain ? text : written(text);
}

std::string one_line(const Node& node) {
  if (!node.is_list() && !node.is_map()) {
    return yaml_scalar(node);
  }
  std::string text;
  for (const Node& item : node.items) {
    text += text.empty() ? "" : ", ";
    if (node.is_map()) {
      text += written(item.key) + ": ";
    }
    text += one_line(item);
  }
  return node.is_list() ? "[" + text + "]" : "{" + text + "}";
}

std::string to_yaml(const Node& map, const CommentOf& comment_of) {
  Writer writer(comment_of);
  writer.map(map, "", "");
  std::string text = writer.take();
  return text.empty() ? "{}\n" : text;
}

}  // namespace fabric::config::detail
