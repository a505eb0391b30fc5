// Names out of files in error texts.
#pragma once

#include <ostream>
#include <string_view>

namespace fabric::detail {

/// A name of a file's, as it is printed: what a damaged file has in its place does not reach a
/// terminal, and does not fill a page.
struct Printable {
  std::string_view text;

  friend std::ostream& operator<<(std::ostream& out, Printable name) {
    constexpr std::size_t kMost = 200;
    for (const char c : name.text.substr(0, kMost)) {
      out << (c >= ' ' && c <= '~' ? c : '?');
    }
    return out << (name.text.size() > kMost ? "..." : "");
  }
};

}  // namespace fabric::detail
