#include "wordpiece.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "unicode_tables.h"

namespace {

constexpr std::size_t kLongestWord = 100;  // in characters; longer ones are unknown

// Takes one character off the front; 0xfffd for a byte that begins none.
char32_t take(std::string_view& text) {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const unsigned first = byte(0);
  const std::size_t length = first < 0x80   ? 1
                             : first < 0xc2 ? 0
                             : first < 0xe0 ? 2
                             : first < 0xf0 ? 3
                                            : 4;
  char32_t character = length < 2 ? first : first & (0x7fu >> length);
  bool good = length > 0 && first < 0xf5;
  for (std::size_t i = 1; i < length; ++i) {
    good = good && byte(i) >> 6 == 2;
    character = character << 6 | (byte(i) & 0x3f);
  }
  text.remove_prefix(good ? length : 1);
  return good ? character : 0xfffd;
}

void append(std::string& to, char32_t character) {
  if (character < 0x80) {
    to.push_back(static_cast<char>(character));
    return;
  }
  const int more = character < 0x800 ? 1 : character < 0x10000 ? 2 : 3;
  to.push_back(static_cast<char>((0xf0u << (3 - more) & 0xff) | character >> (6 * more)));
  for (int i = more - 1; i >= 0; --i) {
    to.push_back(static_cast<char>(0x80 | (character >> (6 * i) & 0x3f)));
  }
}

template <std::size_t n>
bool is_in(const CharacterRange (&ranges)[n], char32_t character) {
  const auto* behind = std::upper_bound(
      std::begin(ranges), std::end(ranges), character,
      [](char32_t value, const CharacterRange& range) { return value < range.first; });
  return behind != std::begin(ranges) && character <= std::prev(behind)->last;
}

// Chinese characters are words of their own; Hangul and kana are written in words.
bool is_ideograph(char32_t c) {
  return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
         (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f) ||
         (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
         (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

using Folding = std::unordered_map<char32_t, std::u32string>;

Folding read_folding() {
  Folding folding;
  std::string_view groups(kFolded);
  while (!groups.empty()) {
    const char32_t target = take(groups);
    for (char32_t c = take(groups); c != U' '; c = take(groups)) {
      folding[c] = target;
    }
  }
  for (std::size_t i = 0; i < std::size(kFoldedToTwo); i += 2) {
    std::string_view from(kFoldedToTwo[i]);
    std::string_view to(kFoldedToTwo[i + 1]);
    std::u32string& parts = folding[take(from)];
    while (!to.empty()) {
      parts.push_back(take(to));
    }
  }
  return folding;
}

// In lower case, without accents, syllables of Hangul as their letters.
std::u32string folded(char32_t character) {
  static const Folding folding = read_folding();
  if (character >= 0xac00 && character <= 0xd7a3) {
    const char32_t syllable = character - 0xac00;
    std::u32string letters{0x1100 + syllable / 588, 0x1161 + syllable % 588 / 28};
    if (syllable % 28 != 0) {
      letters.push_back(0x11a7 + syllable % 28);
    }
    return letters;
  }
  if (is_in(kMarks, character)) {
    return {};
  }
  const auto found = folding.find(character);
  return found == folding.end() ? std::u32string(1, character) : found->second;
}

std::vector<std::u32string> words_of(std::string_view text) {
  std::vector<std::u32string> words(1);
  const auto end_word = [&] {
    if (!words.back().empty()) {
      words.emplace_back();
    }
  };
  while (!text.empty()) {
    const char32_t character = take(text);
    if (character == 0 || character == 0xfffd || is_in(kControls, character)) {
      continue;
    }
    if (is_in(kSpaces, character)) {
      end_word();
      continue;
    }
    const bool ideograph = is_ideograph(character);
    for (const char32_t c : folded(character)) {
      const bool alone = ideograph || is_in(kPunctuation, c);
      if (alone) {
        end_word();
      }
      words.back().push_back(c);
      if (alone) {
        end_word();
      }
    }
  }
  if (words.back().empty()) {
    words.pop_back();
  }
  return words;
}

}  // namespace

WordPiece::WordPiece(const std::string& vocabulary) {
  std::ifstream file(vocabulary);
  std::string line;
  while (std::getline(file, line)) {
    vocabulary_.emplace(line, static_cast<int64_t>(vocabulary_.size()));
  }
  begin_ = piece("[CLS]"), end_ = piece("[SEP]"), unknown_ = piece("[UNK]");
  if (begin_ < 0 || end_ < 0 || unknown_ < 0) {
    throw std::runtime_error(vocabulary + " is no vocabulary of BERT");
  }
}

int64_t WordPiece::piece(const std::string& text) const {
  const auto found = vocabulary_.find(text);
  return found == vocabulary_.end() ? -1 : found->second;
}

std::vector<int64_t> WordPiece::operator()(std::string_view text, std::size_t most) const {
  std::vector<int64_t> pieces{begin_};
  for (const std::u32string& word : words_of(text)) {
    add_word(word, pieces);
  }
  pieces.resize(std::min(pieces.size(), most - 1));
  pieces.push_back(end_);
  return pieces;
}

void WordPiece::add_word(const std::u32string& word, std::vector<int64_t>& pieces) const {
  const std::size_t before = pieces.size();
  std::size_t begin = 0;
  while (begin < word.size() && word.size() <= kLongestWord) {
    // All beginnings of what is left, the longest last.
    std::string text = begin == 0 ? "" : "##";
    std::vector<std::size_t> ends;
    for (std::size_t i = begin; i < word.size(); ++i) {
      append(text, word[i]);
      ends.push_back(text.size());
    }
    int64_t found = -1;
    std::size_t length = ends.size();
    for (; length > 0 && found < 0; --length) {
      text.resize(ends[length - 1]);
      found = piece(text);
    }
    if (found < 0) {
      break;
    }
    pieces.push_back(found);
    begin += length + 1;
  }
  if (begin < word.size()) {  // no piece fits: the whole word is unknown
    pieces.resize(before);
    pieces.push_back(unknown_);
  }
}
