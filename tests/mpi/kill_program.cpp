// Saves again and again, to be killed in the middle, and says what a kill has left.
//
//   kill_program save KIND PATH LOG    each save has the next number in all of its tensors; a number is
//                                      appended to LOG when its save has returned
//   kill_program check PATH LOG        loads PATH: all tensors have one number, at least the last of LOG
#include <fstream>
#include <iostream>
#include <string>

#include <torch/torch.h>

#include <fabric/fabric.h>

namespace {

int save(fabric::Fabric& fabric, const std::string& kind, const std::string& path,
         const std::string& log) {
  auto net = torch::nn::Sequential(torch::nn::Linear(64, 64), torch::nn::Linear(64, 64));
  auto model = fabric.setup(net);
  std::int64_t number = 0;
  if (std::filesystem::exists(path)) {
    fabric.load(path, {{"model", model}, {"number", number}});
  }
  fabric::SaveOptions options;
  options.format = kind;
  std::ofstream saved(log, std::ios::app);
  while (true) {
    ++number;
    {
      const torch::NoGradGuard no_grad;
      auto whole = fabric.full_parameters(model);
      for (torch::Tensor& parameter : net->parameters()) {
        parameter.fill_(number);
      }
    }
    fabric.save(path, {{"model", model}, {"number", number}}, options);
    if (fabric.is_global_zero()) {
      saved << number << std::endl;
    }
  }
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
  if (mode != "save" || argc != 5) {
    std::cerr << "usage: kill_program save KIND PATH LOG | check PATH LOG" << std::endl;
    return 2;
  }
  fabric::Fabric fabric;
  fabric.launch(argc, argv);
  return save(fabric, argv[2], argv[3], argv[4]);
}
