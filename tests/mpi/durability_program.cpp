// Saves under adverse conditions, and says what they have left.
//
//   durability_program save KIND PATH LOG      without end, to be killed: each save has the next
//   number
//                                              in all of its tensors, which is appended to LOG when
//                                              the save has returned
//   durability_program contend KIND PATH LOG COUNT   the same COUNT times, where other jobs save to
//   the
//                                              same path: some saves are refused, with the right
//                                              error
//   durability_program fill KIND PATH          on a disk that is too small for the second
//   checkpoint durability_program check PATH LOG          loads PATH: all tensors have one number,
//   at least the
//                                              last of LOG
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>

#include <torch/torch.h>

#include <fabric/fabric.h>

namespace {

// A model all of whose elements are one number.
class Saver {
 public:
  Saver(fabric::Fabric& fabric, const std::string& kind, std::string path, std::int64_t width = 64)
      : fabric_(fabric),
        path_(std::move(path)),
        net_(torch::nn::Linear(width, width), torch::nn::Linear(width, width)),
        model_(fabric.setup(net_)) {
    options_.format = kind;
  }

  void load() {
    if (std::filesystem::exists(path_)) {
      fabric_.load(path_, {{"model", model_}, {"number", number_}});
    }
  }
  void save(std::int64_t number) {
    number_ = number;
    {
      const torch::NoGradGuard no_grad;
      auto whole = fabric_.full_parameters(model_);
      for (torch::Tensor& parameter : net_->parameters()) {
        parameter.fill_(number);
      }
    }
    fabric_.save(path_, {{"model", model_}, {"number", number_}}, options_);
  }
  std::int64_t number() const { return number_; }

 private:
  fabric::Fabric& fabric_;
  std::string path_;
  torch::nn::Sequential net_;
  fabric::FabricModule<torch::nn::SequentialImpl> model_;
  fabric::SaveOptions options_;
  std::int64_t number_ = 0;
};

int save(fabric::Fabric& fabric, const std::string& kind, const std::string& path,
         const std::string& log) {
  Saver saver(fabric, kind, path);
  saver.load();
  std::ofstream saved(log, std::ios::app);
  while (true) {
    saver.save(saver.number() + 1);
    if (fabric.is_global_zero()) {
      saved << saver.number() << std::endl;
    }
  }
}

// Numbers grow over all jobs: they are milliseconds.
int contend(fabric::Fabric& fabric, const std::string& kind, const std::string& path,
            const std::string& log, int count) {
  Saver saver(fabric, kind, path);
  std::ofstream saved(log, std::ios::app);
  int done = 0;
  int refused = 0;
  for (int i = 0; i < count; ++i) {
    try {
      saver.save(fabric.broadcast(std::chrono::steady_clock::now().time_since_epoch() /
                                  std::chrono::milliseconds(1)) &
                 ((1 << 24) - 1));
      ++done;
    } catch (const fabric::CheckpointError& error) {
      const std::string text = error.what();
      // The second is for whoever was found between making a file and locking it.
      if (text.find("another process is saving to") == std::string::npos &&
          text.find("cannot take its name") == std::string::npos) {
        throw;
      }
      ++refused;
    }
  }
  if (fabric.is_global_zero()) {
    saved << done << " " << refused << std::endl;
  }
  return 0;
}

int fill(fabric::Fabric& fabric, const std::string& kind, const std::string& path) {
  Saver small(fabric, kind, path);
  small.save(1);
  Saver large(fabric, kind, path, 2048);  // 32 MiB
  std::string error = "no error";
  try {
    large.save(2);
  } catch (const fabric::CheckpointError& caught) {
    error = caught.what();
  }
  small.load();
  const bool right = error.find("the disk (or the quota) is full") != std::string::npos &&
                     error.find("[fabric.save]") != std::string::npos && small.number() == 1;
  // What is left of the failed one is in nobody's way.
  small.save(3);
  small.load();
  const bool all =
      fabric.all_reduce(right && small.number() == 3 ? 1.0 : 0.0, fabric::ReduceOp::min) == 1;
  fabric.print(error);
  fabric.print(all ? "the old checkpoint stays, and the next one fits" : "NOT AS EXPECTED");
  return all ? 0 : 1;
}

int check(const std::string& path, const std::string& log) {
  std::int64_t last = 0;
  std::ifstream saved(log);
  for (std::int64_t number = 0; saved >> number;) {
    last = number;
  }
  if (!std::filesystem::exists(path) && last == 0) {
    std::cout << "nothing saved yet" << std::endl;
    return 0;
  }
  fabric::StateValue state;
  try {
    state = fabric::load(path);
  } catch (const fabric::CheckpointError& error) {
    // A folder is made before its first checkpoint is complete.
    std::cout << error.what() << std::endl;
    return last == 0 ? 0 : 1;
  }
  const auto number = state["number"].as<std::int64_t>();
  bool whole = number >= last;
  for (const auto& [name, value] : state["model"].dict()) {
    whole = whole && value.tensor().eq(static_cast<double>(number)).all().item<bool>();
  }
  std::cout << "saved " << last << ", found " << number << (whole ? "" : ", TORN") << std::endl;
  return whole ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "check" && argc == 4) {
    return check(argv[2], argv[3]);
  }
  fabric::Fabric fabric;
  fabric.launch(argc, argv);
  if (mode == "save" && argc == 5) {
    return save(fabric, argv[2], argv[3], argv[4]);
  }
  if (mode == "contend" && argc == 6) {
    return contend(fabric, argv[2], argv[3], argv[4], std::stoi(argv[5]));
  }
  if (mode == "fill" && argc == 4) {
    return fill(fabric, argv[2], argv[3]);
  }
  std::cerr << "usage: durability_program save KIND PATH LOG | contend KIND PATH LOG COUNT | "
               "fill KIND PATH | check PATH LOG"
            << std::endl;
  return 2;
}
