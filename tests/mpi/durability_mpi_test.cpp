// A crash of the whole machine at any moment of a save by several ranks, and an operation that
// fails on any one of them: the checkpoint from before or the new one, whole, and the same for all.
#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <torch/torch.h>

#include <fabric/checkpoint/io/file.h>
#include <fabric/fabric.h>

#include <tests/support/crash_states.h>
#include <tests/support/failing_file_system.h>
#include <tests/support/sharding.h>
#include <tests/support/shared_folder.h>
#include <tests/support/state_trees.h>

namespace {

using fabric::CheckpointError;
using fabric::StateValue;
using fabric::detail::FileSystemScope;

// All elements of its model are one number, which is saved besides.
struct Numbered {
  Numbered() : fabric({.strategy = support::kLinearUnits}), net(torch::nn::Linear(5, 3)) {
    fabric.launch();
    model = fabric.setup(net);
  }
  void save(const std::filesystem::path& path, int value) {
    number = value;
    {
      const torch::NoGradGuard no_grad;
      auto whole = fabric.full_parameters(model);
      for (torch::Tensor& parameter : net->parameters()) {
        parameter.fill_(value);
      }
    }
    fabric.save(path, {{"model", model}, {"number", number}}, {.format = "sharded"});
  }
  fabric::Fabric fabric;
  torch::nn::Sequential net;
  fabric::FabricModule<torch::nn::SequentialImpl> model;
  int number = 0;
};

// The number of the checkpoint that a folder has; 0 for none, -1 for anything else.
int found_in(const std::filesystem::path& path) {
  try {
    const StateValue state = fabric::load(path);
    const int number = state["number"].as<int>();
    for (const auto& [name, value] : state["model"].dict()) {
      if (!value.tensor().eq(number).all().item<bool>()) {
        MESSAGE("torn: " << number);
        return -1;
      }
    }
    return number;
  } catch (const CheckpointError& error) {
    const std::string text = error.what();
    const bool absent = text.find("cannot be opened") != std::string::npos ||
                        text.find("is a folder without") != std::string::npos;
    if (!absent) {
      MESSAGE(text);
    }
    return absent ? 0 : -1;
  }
}

// What a rank has recorded, as another can read it.
fabric::StateList to_list(const std::vector<DiskOperation>& log) {
  fabric::StateList list;
  for (const DiskOperation& each : log) {
    list.push_back(fabric::StateDict{{"kind", static_cast<int>(each.kind)},
                                     {"path", each.path},
                                     {"other", each.other},
                                     {"offset", each.offset},
                                     {"bytes", fabric::Bytes{each.bytes}},
                                     {"file", each.file},
                                     {"time", each.time}});
  }
  return list;
}

void append(std::vector<DiskOperation>& log, const StateValue& list) {
  for (const StateValue& each : list.list()) {
    log.push_back({.kind = static_cast<DiskOperation::Kind>(each["kind"].as<int>()),
                   .path = each["path"].as<std::string>(),
                   .other = each["other"].as<std::string>(),
                   .offset = each["offset"].as<std::int64_t>(),
                   .bytes = each["bytes"].as<fabric::Bytes>().data,
                   .file = each["file"].as<std::int64_t>(),
                   .time = each["time"].as<std::int64_t>()});
  }
}

}  // namespace

TEST_SUITE("mpi.durability") {
  TEST_CASE("every crash of all ranks leaves the old folder or the new one") {
    const int rank = fabric::world().rank;
    for (const bool with_old : {false, true}) {
      CAPTURE(with_old);
      const SharedFolder disk;
      const SharedFolder logs;
      Numbered saver;
      const std::filesystem::path path = disk / "folder";
      if (with_old) {
        saver.save(path, 1);
      }
      saver.fabric.barrier();
      MemoryFileSystem before;
      if (rank == 0) {
        copy_disk(path.parent_path(), before);
      }
      saver.fabric.barrier();
      RecordingFileSystem recording(rank);
      {
        const FileSystemScope scope(recording);
        saver.save(path, 2);
      }
      fabric::save(logs / std::to_string(rank), to_list(recording.log()));
      saver.fabric.barrier();
      if (rank == 0) {
        std::vector<DiskOperation> log;
        for (int each = 0; each < fabric::world().size; ++each) {
          append(log, fabric::load(logs / std::to_string(each)));
        }
        std::stable_sort(log.begin(), log.end(),
                         [](const auto& a, const auto& b) { return a.time < b.time; });
        int states = 0;
        int news = 0;
        for_each_crash_state(log, before, [&](MemoryFileSystem& crashed, std::size_t at) {
          const FileSystemScope scope(crashed);
          const int found = found_in(path);
          if (found != 2 && found != (with_old ? 1 : 0)) {
            FAIL_CHECK("after operation " << at << " of " << log.size() << " the folder holds "
                                          << found);
          }
          if (at == log.size()) {
            CHECK(found == 2);
          }
          ++states;
          news += found == 2 ? 1 : 0;
        });
        CHECK(states > 20 * fabric::world().size);
        CHECK(news > 0);
        CHECK(news < states);
      }
      saver.fabric.barrier();
    }
  }

  TEST_CASE("an operation that fails on one rank fails the save on all, or the save is done") {
    for (int failing_rank = 0; failing_rank < fabric::world().size; ++failing_rank) {
      CAPTURE(failing_rank);
      Numbered saver;
      bool more = true;
      for (int at = 0; more; ++at) {
        CAPTURE(at);
        const SharedFolder disk;
        const std::filesystem::path path = disk / "folder";
        saver.save(path, 1);
        FailingFileSystem failing(fabric::world().rank == failing_rank ? at : 1 << 30, false);
        std::string error;
        {
          const FileSystemScope scope(failing);
          try {
            saver.save(path, 2);
          } catch (const CheckpointError& caught) {
            error = caught.what();
          }
        }
        saver.fabric.barrier();
        const auto errors = saver.fabric.all_gather(error.empty() ? 0 : 1);
        const bool alike = errors.min().equal(errors.max());
        CHECK(alike);
        const int found = found_in(path);
        const bool right =
            error.empty()
                ? found == 2
                : found == 1 || (found == 2 && error.find("may not last") != std::string::npos);
        if (!right) {
          FAIL_CHECK("found " << found << " after: " << error);
        }
        saver.fabric.barrier();
        saver.save(path, 3);
        CHECK(found_in(path) == 3);
        saver.fabric.barrier();
        more = saver.fabric.all_reduce(
                   fabric::world().rank == failing_rank && at < failing.operations() ? 1.0 : 0.0,
                   fabric::ReduceOp::max) == 1.0;
      }
    }
  }

  TEST_CASE("a path that another job saves to is refused on all ranks") {
    const SharedFolder disk;
    Numbered saver;
    saver.save(disk / "folder", 1);
    saver.fabric.save(disk / "a.pt", saver.model);
    saver.fabric.barrier();
    {
      std::unique_ptr<fabric::detail::OutputFile> file;
      std::unique_ptr<fabric::detail::OutputFile> manifest;
      if (fabric::world().rank == 0) {
        file = std::make_unique<fabric::detail::OutputFile>(disk / "a.pt", 0);
        manifest = std::make_unique<fabric::detail::OutputFile>(disk / "folder" / "manifest.pt", 0);
      }
      saver.fabric.barrier();
      CHECK_THROWS_WITH_AS(saver.fabric.save(disk / "a.pt", saver.model),
                           doctest::Contains("two jobs need two paths"), CheckpointError);
      CHECK_THROWS_WITH_AS(saver.save(disk / "folder", 2),
                           doctest::Contains("two jobs need two paths"), CheckpointError);
      saver.fabric.barrier();
    }
    CHECK(found_in(disk / "folder") == 1);
    saver.fabric.barrier();
    saver.save(disk / "folder", 2);
    CHECK(found_in(disk / "folder") == 2);
  }
}
