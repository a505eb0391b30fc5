// What a parser may be told about the program.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace fabric::config {

/// The options of `Parser`.
struct ParserOptions {
  /// What screens call the program; left out: the name that it was started by.
  std::string program{};
  /// What the program does, for the help screen.
  std::string about{};
  /// The beginning of variables: "TRAIN_" makes TRAIN_MODEL__WIDTH give `model.width`, and
  /// TRAIN_CONFIG a whole file. Left out: only FABRIC_… variables are read.
  std::string environment{};
  /// Patterns of files that are read where there are any, lowest first: {"train.yaml",
  /// "conf/*.yaml"}.
  std::vector<std::string> default_files{};
  /// The option that names a checkpoint to go on from, and what reads its hyper-parameters, as JSON
  /// or YAML (fabric::config::read_hyper_parameters). They rank above default files, below
  /// variables.
  std::string checkpoint{};
  std::function<std::string(const std::filesystem::path& checkpoint)> hyper_parameters{};
};

}  // namespace fabric::config
