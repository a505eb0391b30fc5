// Cuts text into the pieces that BERT's uncased models read: words in lower case without accents,
// then the longest pieces of each word that the vocabulary has.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

class WordPiece {
 public:
  /// @param vocabulary a file with one piece a line; those inside words begin with "##"
  explicit WordPiece(const std::string& vocabulary);

  /// The numbers of a text's pieces between those of [CLS] and [SEP], `most` of them at most. What
  /// is not UTF-8 is left out; names of special pieces in the text are text.
  std::vector<int64_t> operator()(std::string_view text, std::size_t most = 256) const;

 private:
  void add_word(const std::u32string& word, std::vector<int64_t>& pieces) const;
  int64_t piece(const std::string& text) const;  ///< -1 where there is none

  std::unordered_map<std::string, int64_t> vocabulary_;
  int64_t begin_ = 0, end_ = 0, unknown_ = 0;
};
