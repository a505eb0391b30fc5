// A folder for tests of several ranks.
#pragma once

#include <doctest/doctest.h>

#include <filesystem>
#include <string>

#include <stdlib.h>

#include <fabric/fabric.h>

/// A folder that all ranks see while the object lives; rank 0 makes it.
class SharedFolder {
 public:
  SharedFolder() {
    fabric::Fabric fabric;
    fabric.launch();
    std::string pattern = (std::filesystem::temp_directory_path() / "fabric-mpi-XXXXXX").string();
    if (fabric.is_global_zero()) {
      REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    }
    path_ = fabric.broadcast(pattern);
  }
  ~SharedFolder() {
    fabric::Fabric fabric;
    fabric.launch();
    fabric.barrier();
    if (fabric.is_global_zero()) {
      std::error_code ignored;
      std::filesystem::remove_all(path_, ignored);
    }
  }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};
