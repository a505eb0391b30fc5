// fabric-consolidate: makes one file of a checkpoint of any kind.
#include <cstring>
#include <exception>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include <fabric/checkpoint/checkpoint.h>

namespace {

constexpr const char* kUsage =
    "usage: fabric-consolidate CHECKPOINT FILE [--keys KEY,KEY] [--file-bytes N]\n"
    "\n"
    "  CHECKPOINT     a folder that all ranks of a job wrote, one of "
    "torch.distributed.checkpoint,\n"
    "                 or a file of torch.save or safetensors\n"
    "  FILE           what it becomes: safetensors where it ends in .safetensors, else a file "
    "that\n"
    "                 Python's torch.load opens\n"
    "  --keys         only these parts of the state: model,options\n"
    "  --file-bytes   safetensors: at most so many bytes a file, with an index beside them\n";

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == ',') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> paths;
  std::vector<std::string> keys;
  fabric::SaveOptions options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "-h" || argument == "--help") {
      std::cout << kUsage;
      return 0;
    }
    if ((argument == "--keys" || argument == "--file-bytes") && i + 1 < argc) {
      const std::string value = argv[++i];
      if (argument == "--keys") {
        keys = split(value);
      } else {
        char* end = nullptr;
        options.file_bytes = std::strtoll(value.c_str(), &end, 10);
        if (*end != '\0' || options.file_bytes <= 0) {
          std::cerr << "fabric-consolidate: --file-bytes wants a number of bytes; got '" << value
                    << "'\n";
          return 2;
        }
      }
    } else if (argument.starts_with("-")) {
      std::cerr << "fabric-consolidate: unknown option '" << argument << "'\n\n" << kUsage;
      return 2;
    } else {
      paths.push_back(argument);
    }
  }
  if (paths.size() != 2) {
    std::cerr << kUsage;
    return 2;
  }
  try {
    fabric::consolidate(paths[0], paths[1], {.keys = keys, .save = options});
  } catch (const std::exception& error) {
    std::cerr << "fabric-consolidate: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
