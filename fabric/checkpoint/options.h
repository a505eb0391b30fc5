// How states are saved and loaded.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <accelerators/named_choice.h>
#include <fabric/checkpoint/state_value.h>

namespace fabric {

struct FileFormats {
  static constexpr std::string_view what = "file format";
  static constexpr std::string_view names[] = {"auto", "python", "safetensors", "sharded"};
  static constexpr void check(bool known) {
    if (!known) {
      throw "file format: expected \"auto\", \"python\", \"safetensors\" or \"sharded\"";
    }
  }
};
using FileFormatChoice = NamedChoice<FileFormats>;

struct SaveOptions {
  /// "python": a file that torch.load opens; "safetensors"; "sharded": a folder that all ranks
  /// write together, each its own part, and any number of ranks can read; "auto": safetensors where
  /// the path ends in .safetensors, else Python's.
  FileFormatChoice format = "auto";
  /// Which keys are saved, given from the root and joined by dots ("model.encoder.weight"); all
  /// where it is empty.
  std::function<bool(const std::string& key)> filter = nullptr;
  /// safetensors: at most so many bytes of tensors a file, several of them with Hugging Face's
  /// index; 0 for one file.
  std::int64_t file_bytes = 0;
  /// Whether the save runs beside the program, which goes on at once. It is complete, or its error
  /// thrown, when the next save or load begins, or Fabric::wait_for_saves returns. Tensors are read
  /// where they lie; what the next step finds not yet read is copied first, so that the program
  /// waits for a copy at most. One file of a model that is cut over ranks is gathered before the
  /// program goes on: "sharded" is the form for those. Not for safetensors in several files.
  /// Fabric::save only.
  bool async = false;
  /// Whether the folder that the path lies in is made where there is none.
  bool make_folder = false;
  /// What Fabric::save keeps besides under "fabric", with the version and the world it was made by.
  StateDict details = {};
};

struct LoadOptions {
  /// Whether it is an error where the state asks for something the file does not have, and where a
  /// model does not know a tensor of its part of the file. Otherwise the one keeps its value, and
  /// the other is returned with what was not asked for.
  bool strict = true;
  /// Which keys of the state are loaded ("model.encoder.weight"); all where it is empty. Others
  /// keep their values, and what the file has for them is not looked at.
  std::function<bool(const std::string& key)> filter = nullptr;
  /// Names of tensors in a model's part of the file are rewritten before they are looked up, each
  /// by all rules in order: a regular expression (ECMAScript) and what takes its place.
  ///
  ///     {.rename = {{"^module\\.", ""}, {"gamma$", "weight"}}}
  std::vector<std::pair<std::string, std::string>> rename{};
  /// Buffers whose names match one of these patterns (`*` stands for anything) may be missing in
  /// the file, and may be there without being known, strict or not. For buffers that Python does
  /// not save (persistent=False): in C++ every buffer is saved.
  std::vector<std::string> skip_buffers{};
  /// Whether `tensor()` of what is returned lends the file's own pages instead of reading them.
  /// Quick, and without the check of what it finds.
  bool memory_map = false;
};

}  // namespace fabric
