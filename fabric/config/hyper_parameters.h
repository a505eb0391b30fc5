// A configuration in checkpoints.
#pragma once

#include <filesystem>
#include <string>

#include <fabric/checkpoint/state_value.h>
#include <fabric/config/resolved.h>

namespace fabric::config {

/// The options as a part of a state, under the name that Lightning has for them as well:
///
///     fabric::State state{{"model", model},
///                         {"hyper_parameters",
///                         fabric::config::hyper_parameters(config.resolved())}};
///
/// Saving writes a dictionary of numbers, texts, lists and dictionaries. Loading changes nothing:
/// the options of a run are what its parser made of all sources, the checkpoint being one of them
/// (ParserOptions::checkpoint).
class HyperParameters {
 public:
  explicit HyperParameters(Resolved resolved) : resolved_(std::move(resolved)) {}
  StateDict state_dict() const;
  void load_state_dict(const StateDict&) {}

 private:
  Resolved resolved_;
};

HyperParameters hyper_parameters(const Resolved& resolved);

/// The dictionary "hyper_parameters" of a checkpoint, as JSON; for ParserOptions::hyper_parameters.
/// Of a file of Lightning too. @throws CheckpointError where there is none
std::string read_hyper_parameters(const std::filesystem::path& checkpoint);

}  // namespace fabric::config
