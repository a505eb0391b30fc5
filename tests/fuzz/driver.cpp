// Runs a fuzz target on its kept corpus and on mutations of it, in every build:
//
//     fabric_fuzz_<reader> corpus/<reader> [mutations of each file] [seed]
//     fabric_fuzz_<reader> file            one input: says why it is refused
//
// The mutations are the same for the same seed.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include <tests/fuzz/fuzz.h>

namespace {

std::string contents(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class Mutator {
 public:
  Mutator(unsigned seed, const std::vector<std::string>& corpus) : random_(seed), corpus_(corpus) {}

  std::string operator()(std::string input) {
    for (std::size_t i = below(4) + 1; i > 0; --i) {
      change(input);
    }
    return input;
  }

 private:
  std::size_t below(std::size_t n) { return n == 0 ? 0 : random_() % n; }

  void change(std::string& input) {
    const std::size_t at = below(input.size());
    const std::size_t some = std::min(below(64) + 1, input.size() - at);
    switch (below(8)) {
      case 0:  // a bit
        if (!input.empty()) {
          input[at] = static_cast<char>(input[at] ^ (1 << below(8)));
        }
        break;
      case 1:  // a byte
        if (!input.empty()) {
          input[at] = static_cast<char>(random_());
        }
        break;
      case 2:  // a number, of those that limits are made of
        write_number(input, at);
        break;
      case 3:
        input.erase(at, some);
        break;
      case 4:
        input.resize(at);
        break;
      case 5:  // a part twice
        input.insert(at, input.substr(at, some));
        break;
      case 6: {  // a part of another one
        const std::string& other = corpus_[below(corpus_.size())];
        const std::size_t from = below(other.size());
        input.insert(at, other.substr(from, below(256)));
        break;
      }
      default: {  // a part in another place
        const std::string part = input.substr(at, some);
        input.replace(below(input.size() - part.size() + 1), part.size(), part);
      }
    }
  }

  void write_number(std::string& input, std::size_t at) {
    const std::uint64_t kNumbers[] = {0,
                                      1,
                                      0x7f,
                                      0x80,
                                      0xff,
                                      0x7fff,
                                      0xffff,
                                      0x7fffffff,
                                      0x80000000,
                                      0xffffffff,
                                      0x7fffffffffffffff,
                                      0x8000000000000000,
                                      0xffffffffffffffff,
                                      input.size(),
                                      input.size() - 1};
    const std::uint64_t number = kNumbers[below(std::size(kNumbers))];
    const std::size_t length = std::min(std::size_t{1} << below(4), input.size() - at);
    for (std::size_t i = 0; i < length; ++i) {
      input[at + i] = static_cast<char>(number >> (8 * i));
    }
  }

  std::mt19937 random_;
  const std::vector<std::string>& corpus_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: " << argv[0] << " CORPUS [MUTATIONS] [SEED]\n";
    return 2;
  }
  const std::filesystem::path path = argv[1];
  if (!std::filesystem::is_directory(path)) {
    const std::string refused = fuzz::check_input(contents(path));
    std::cout << (refused.empty() ? "taken" : refused) << '\n';
    return 0;
  }
  const int mutations = argc > 2 ? std::atoi(argv[2]) : 1000;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  std::vector<std::string> corpus;
  int taken = 0;
  for (const std::filesystem::path& file : files) {
    corpus.push_back(contents(file));
    taken += fuzz::check_input(corpus.back()).empty() ? 1 : 0;
  }
  Mutator mutate(argc > 3 ? static_cast<unsigned>(std::atoi(argv[3])) : 1, corpus);
  int mutations_taken = 0;
  for (const std::string& input : corpus) {
    for (int i = 0; i < mutations; ++i) {
      mutations_taken += fuzz::check_input(mutate(input)).empty() ? 1 : 0;
    }
  }
  std::cout << taken << " of " << corpus.size() << " inputs taken, " << mutations_taken << " of "
            << corpus.size() * static_cast<std::size_t>(mutations) << " mutations\n";
  if (taken == 0) {
    std::cerr << "none of the inputs was taken: this tested nothing\n";
    return 1;
  }
  return 0;
}
