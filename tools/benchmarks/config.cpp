// Parses 1000 options from 3 files; the twin of peers/config.py.
//
//     bench_config write FOLDER          writes the files
//     bench_config FOLDER REPETITIONS    prints `parse_seconds` of one parse, and `sum` of what was
//     read
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include <fabric/config.h>

namespace {

struct Ten {
  int a = 0;
  double b = 0;
  bool c = false;
  std::string d{};
  std::vector<int> e{};
  int f = 0;
  double g = 0;
  bool h = false;
  std::string i{};
  std::optional<int> j{};
};
struct Hundred {
  Ten a{}, b{}, c{}, d{}, e{}, f{}, g{}, h{}, i{}, j{};
};
struct Thousand {
  Hundred a{}, b{}, c{}, d{}, e{}, f{}, g{}, h{}, i{}, j{};
};

constexpr const char* kLetters = "abcdefghij";

std::string value(int option, int number) {
  switch (option % 5) {
    case 0:
      return std::to_string(number);
    case 1:
      return std::to_string(number) + ".25";
    case 2:
      return number % 2 == 0 ? "true" : "false";
    case 3:
      return "text-" + std::to_string(number);
    default:
      return option == 4 ? "[1, 2, " + std::to_string(number) + "]" : std::to_string(number);
  }
}

void write_files(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  std::array<std::ofstream, 3> files;
  for (int i = 0; i < 3; ++i) {
    files[i].open(folder / (std::to_string(i) + ".yaml"));
  }
  for (int hundred = 0; hundred < 10; ++hundred) {
    std::ofstream& file = files[hundred % 3];
    file << kLetters[hundred] << ":\n";
    for (int ten = 0; ten < 10; ++ten) {
      file << "  " << kLetters[ten] << ":\n";
      for (int option = 0; option < 10; ++option) {
        file << "    " << kLetters[option] << ": "
             << value(option, 100 * hundred + 10 * ten + option) << "\n";
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "bench_config: expected `write FOLDER` or `FOLDER REPETITIONS`\n");
    return 2;
  }
  if (std::string(argv[1]) == "write") {
    write_files(argv[2]);
    return 0;
  }
  const std::string folder = argv[1];
  std::vector<std::string> arguments;
  for (int i = 0; i < 3; ++i) {
    arguments.push_back("--config=" + folder + "/" + std::to_string(i) + ".yaml");
  }
  const int repetitions = std::atoi(argv[2]);
  long long sum = 0;
  const fabric::config::Parser<Thousand> parser;
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < repetitions; ++i) {
    const auto config = parser.read(arguments);
    sum = 0;
    for (const Hundred* hundred : {&config->a, &config->b, &config->j}) {
      sum += hundred->a.a + hundred->j.f + hundred->c.e.back() + *hundred->j.j;
    }
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  std::printf("parse_seconds %.9f\nsum %lld\n", seconds.count() / repetitions, sum);
}
