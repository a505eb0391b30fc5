#include <doctest/doctest.h>

#include <string>

#include <fabric/checkpoint/format/utf8.h>

using namespace fabric::detail;
using namespace std::string_literals;

TEST_SUITE("fabric.checkpoint.utf8") {
  TEST_CASE("texts that Python reads") {
    for (const std::string& text :
         {""s, "a"s, "\0"s, "\x7f"s, "\xc2\x80"s, "\xdf\xbf"s, "\xe0\xa0\x80"s, "\xef\xbf\xbf"s,
          "\xf0\x90\x80\x80"s, "\xf4\x8f\xbf\xbf"s, "\xed\xa0\x80"s, "größe 層 😀"s}) {
      CAPTURE(text);
      CHECK(is_python_text(text));
      CHECK(is_python_text("a" + text + "b"));
    }
  }

  TEST_CASE("bytes that are none") {
    for (const std::string& text :
         {"\x80"s, "\xbf"s, "\xc0\x80"s, "\xc1\xbf"s, "\xc2"s, "\xc2\x41"s, "\xe0\x80\x80"s,
          "\xe0\x9f\xbf"s, "\xe1\x80"s, "\xf0\x80\x80\x80"s, "\xf0\x8f\xbf\xbf"s,
          "\xf4\x90\x80\x80"s, "\xf5\x80\x80\x80"s, "\xff"s}) {
      CAPTURE(text);
      CHECK_FALSE(is_python_text(text));
      CHECK_FALSE(is_python_text("a" + text));
      CHECK_FALSE(utf8_to_latin1(text).has_value());
    }
  }

  TEST_CASE("latin1 there and back") {
    std::string bytes;
    for (int i = 0; i < 256; ++i) {
      bytes.push_back(static_cast<char>(i));
    }
    const std::string text = latin1_to_utf8(bytes);
    CHECK(text.size() == 384);
    CHECK(is_python_text(text));
    CHECK(utf8_to_latin1(text) == bytes);
    CHECK_FALSE(utf8_to_latin1("\xc4\x80").has_value());  // 256
  }
}
