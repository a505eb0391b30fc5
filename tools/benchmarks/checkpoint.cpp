// Saves and loads 2 GiB of parameters, on demand of a script that lets a peer do the same in turns.
//
//   bench_checkpoint serve          reads lines `save PATH`, `load PATH`, `peak` from standard input and
//                                   answers with milliseconds (and MiB for peak) a line
//   mpirun -np 4 bench_checkpoint shard PATH
//                                   saves a sharded model of 2 GiB to PATH, loads it again and prints
//                                   `shard_bytes_ratio`: bytes read by a rank over those of its shard
#include <sys/resource.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include <torch/torch.h>

#include <fabric/checkpoint/io/file.h>
#include <fabric/fabric.h>

namespace {

constexpr std::int64_t kTensors = 128;
constexpr std::int64_t kElements = std::int64_t{4} << 20;

struct BlocksImpl : torch::nn::Module {
  BlocksImpl() {
    for (std::int64_t i = 0; i < kTensors; ++i) {
      register_parameter("weight" + std::to_string(i), torch::empty({2048, kElements / 2048}));
    }
  }
};
TORCH_MODULE(Blocks);

// What the process has used at the most so far, in MiB. Reset through /proc/self/clear_refs.
double peak_mib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) {
      return std::stod(line.substr(6)) / 1024;
    }
  }
  return 0;
}

void reset_peak() {
  std::ofstream("/proc/self/clear_refs") << 5;
}

int serve() {
  torch::manual_seed(1);
  Blocks net;
  {
    const torch::NoGradGuard no_grad;
    for (torch::Tensor& parameter : net->parameters()) {
      parameter.normal_();
    }
  }
  std::cout << "ready" << std::endl;
  std::string command;
  std::string path;
  double extra = 0;
  while (std::cin >> command) {
    if (command == "peak") {
      std::cout << extra << std::endl;
      continue;
    }
    std::cin >> path;
    reset_peak();
    const double before = peak_mib();
    const auto begin = std::chrono::steady_clock::now();
    if (command == "save") {
      fabric::save(path, net);
    } else {
      fabric::load(path, net);
    }
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - begin;
    if (command == "save") {
      extra = std::max(extra, peak_mib() - before);
    }
    std::cout << time.count() << std::endl;
  }
  return 0;
}

struct LayersImpl : torch::nn::Module {
  LayersImpl() : layers(register_module("layers", torch::nn::ModuleList())) {
    for (int i = 0; i < 8; ++i) {
      layers->push_back(torch::nn::Linear(8192, 8192));
    }
  }
  torch::nn::ModuleList layers;
};
TORCH_MODULE(Layers);

int shard(const std::string& path) {
  fabric::Fabric fabric({.strategy = "fsdp"});
  fabric.launch();
  auto net = fabric.init_module([] { return Layers(); }, {.empty_init = true});
  auto model = fabric.setup(net);
  fabric.save(path, model);
  std::int64_t own = 0;
  for (const fabric::NamedTensor& part : *model.managed().own_parts()) {
    own += static_cast<std::int64_t>(part.tensor.nbytes());
  }
  const std::int64_t before = fabric::detail::InputFile::bytes_read();
  fabric.load(path, model);
  const auto read = static_cast<double>(fabric::detail::InputFile::bytes_read() - before);
  fabric.print("shard_bytes_ratio ",
               fabric.all_reduce(read / static_cast<double>(own), fabric::ReduceOp::max));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "serve") {
    return serve();
  }
  if (mode == "shard" && argc > 2) {
    return shard(argv[2]);
  }
  std::cerr << "usage: bench_checkpoint serve | shard PATH" << std::endl;
  return 2;
}
