#include <fabric/config/tree/source_text.h>

#include <algorithm>
#include <string>

#include <fabric/checkpoint/format/utf8.h>
#include <fabric/config/tree/builder.h>

namespace fabric::config::detail {

bool is_text(std::string_view text) {
  return fabric::detail::is_strict_utf8(text) && text.find('\0') == std::string_view::npos;
}

void check_source_text(std::string_view text, const std::shared_ptr<const Source>& source) {
  if (text.size() > kMaxSourceBytes) {
    throw SourceError(Place(source, 1, 1), "not a configuration; got " +
                                               std::to_string(text.size() >> 20) +
                                               " MiB; expected at most 16 MiB of text");
  }
  if (is_text(text)) {
    return;
  }
  int number = 1;
  while (true) {
    const std::string_view line = text.substr(0, text.find('\n'));
    if (!is_text(line)) {
      break;
    }
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    ++number;
  }
  throw SourceError(
      Place(source, number, 1),
      "not a text; expected UTF-8 without zero bytes. Hint: is it the file that is meant?");
}

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

}  // namespace fabric::config::detail
