// After a crash at any moment, and after any operation that fails, there is the checkpoint from before
// or the new one, whole.
#include <doctest/doctest.h>

#include <string>

#include <ATen/ATen.h>

#include <fabric/checkpoint/checkpoint.h>
#include <fabric/fabric.h>
#include <tests/support/crash_states.h>
#include <tests/support/failing_file_system.h>
#include <tests/support/state_trees.h>

namespace {

using fabric::CheckpointError;
using fabric::SaveOptions;
using fabric::StateDict;
using fabric::StateValue;
using fabric::detail::FileSystemScope;

StateDict state_of(double value) {
  return {{"model", StateDict{{"weight", at::full({3, 2}, value)}, {"bias", at::full({2}, value)}}},
          {"epoch", value}};
}

struct Kind {
  const char* path;
  SaveOptions options;
};

std::vector<Kind> kinds() {
  return {{"checkpoint.pt", {}},
          {"checkpoint.safetensors", {}},
          {"split.safetensors", {.file_bytes = 12}},
          {"folder", {.format = "sharded"}}};
}

// Which of two states a path holds: 0 for none, or an error.
int loaded(const std::filesystem::path& path, double first, double second) {
  StateValue state;
  try {
    state = fabric::load(path);
  } catch (const CheckpointError& error) {
    const std::string text = error.what();
    const bool absent = text.find("cannot be opened") != std::string::npos ||
                        text.find("is a folder without") != std::string::npos;
    if (!absent) {
      MESSAGE(text);
    }
    return absent ? 0 : -1;
  }
  // Tensors are read only now.
  try {
    return difference(state, state_of(first)) == ""    ? 1
           : difference(state, state_of(second)) == "" ? 2
                                                       : -2;
  } catch (const CheckpointError& error) {
    MESSAGE(error.what());
    return -3;
  }
}

void copy_disk(const std::filesystem::path& folder, MemoryFileSystem& disk) {
  disk.folders.insert(folder.string());
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_directory()) {
      disk.folders.insert(entry.path().string());
    } else {
      disk.files[entry.path().string()] = std::make_shared<std::string>(bytes_of(entry.path()));
    }
  }
}

}  // namespace

TEST_SUITE("fabric.checkpoint.durability") {
  TEST_CASE("every crash leaves the old checkpoint or the new one") {
    for (const Kind& kind : kinds()) {
      for (const bool with_old : {false, true}) {
        CAPTURE(kind.path);
        CAPTURE(with_old);
        const TemporaryFolder folder;
        const std::filesystem::path path = folder / kind.path;
        if (with_old) {
          fabric::save(path, state_of(1), kind.options);
        }
        MemoryFileSystem before;
        copy_disk(folder.path(), before);
        RecordingFileSystem recording;
        {
          const FileSystemScope scope(recording);
          fabric::save(path, state_of(2), kind.options);
        }
        int states = 0;
        int news = 0;
        for_each_crash_state(recording.log(), before, [&](MemoryFileSystem& disk, std::size_t at) {
          const FileSystemScope scope(disk);
          const int found = loaded(path, 1, 2);
          const bool right = found == 2 || found == (with_old ? 1 : 0);
          if (!right) {
            FAIL_CHECK("after operation " << at << " of " << recording.log().size()
                                          << " the path holds " << found);
          }
          // Once the save has returned, the new one is there whatever happens.
          if (at == recording.log().size()) {
            CHECK(found == 2);
          }
          ++states;
          news += found == 2 ? 1 : 0;
          if (states % 7 == 0) {
            // The next save finds its way over what was left, and leaves nothing of it.
            fabric::save(path, state_of(2), kind.options);
            CHECK(loaded(path, 1, 2) == 2);
            for (const auto& [name, content] : disk.files) {
              CHECK(name.find(".fabric-tmp-") == std::string::npos);
            }
          }
        });
        CHECK(states > 20);
        CHECK(news > 0);
        CHECK(news < states);
      }
    }
  }

  TEST_CASE("an operation that fails is an error, and the old checkpoint stays") {
    for (const Kind& kind : kinds()) {
      CAPTURE(kind.path);
      for (const bool dead : {false, true}) {
        for (int at = 0;; ++at) {
          CAPTURE(at);
          const TemporaryFolder folder;
          const std::filesystem::path path = folder / kind.path;
          fabric::save(path, state_of(1), kind.options);
          FailingFileSystem failing(at, dead);
          bool threw = false;
          {
            const FileSystemScope scope(failing);
            try {
              fabric::save(path, state_of(2), kind.options);
            } catch (const CheckpointError& error) {
              threw = true;
              CHECK(std::string(error.what()).find("[fabric.save]") != std::string::npos);
            }
          }
          const int found = loaded(path, 1, 2);
          CHECK((found == 1 || found == 2));
          // Removing what is old comes after the new one is complete: it may fail in silence.
          CHECK((threw || found == 2));
          fabric::save(path, state_of(2), kind.options);
          CHECK(loaded(path, 1, 2) == 2);
          if (at >= failing.operations()) {
            break;
          }
        }
      }
    }
  }
}
