// Saves and loads 2 GiB of parameters, on demand of a script that lets a peer do the same in turns.
//
//   bench_checkpoint serve          reads lines `save PATH`, `load PATH`, `peak` from standard
//   input and
//                                   answers with milliseconds (and MiB for peak) a line
//   mpirun -np 4 bench_checkpoint shard PATH
//                                   saves a sharded model of 2 GiB to PATH, loads it again and
//                                   prints `shard_bytes_ratio`: bytes read by a rank over those of
//                                   its shard
//   mpirun -np 2 bench_checkpoint parts PATH sharded|python
//                                   saves a sharded model of 1 GiB several times; prints `save_ms`,
//                                   the median
//   bench_checkpoint beside FOLDER ROUNDS
//                                   trains 256 MiB of parameters with AdamW (768 MiB to save) on
//                                   all cores and saves in the loop, or beside it, or not at all,
//                                   in turns; prints `async_block_ratio` and `async_total_ratio`
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include <torch/torch.h>

#include <fabric/checkpoint/io/file.h>
#include <fabric/checkpoint/snapshot.h>
#include <fabric/fabric.h>

namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

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
    const auto begin = Clock::now();
    if (command == "save") {
      fabric::save(path, net);
    } else {
      fabric::load(path, net);
    }
    const double time = ms_since(begin);
    if (command == "save") {
      extra = std::max(extra, peak_mib() - before);
    }
    std::cout << time << std::endl;
  }
  return 0;
}

/// `count` square linear layers.
struct LayersImpl : torch::nn::Module {
  LayersImpl(int count, std::int64_t width)
      : layers(register_module("layers", torch::nn::ModuleList())) {
    for (int i = 0; i < count; ++i) {
      layers->push_back(torch::nn::Linear(width, width));
    }
  }
  torch::Tensor forward(torch::Tensor x) {
    for (const auto& layer : *layers) {
      x = layer->as<torch::nn::Linear>()->forward(x);
    }
    return x;
  }
  torch::nn::ModuleList layers;
};
TORCH_MODULE(Layers);

int shard(const std::string& path) {
  fabric::Fabric fabric({.strategy = "fsdp"});
  fabric.launch();
  auto net = fabric.init_module([] { return Layers(8, 8192); }, {.empty_init = true});
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

int parts(const std::string& path, const std::string& format) {
  fabric::Fabric fabric({.strategy = "fsdp"});
  fabric.launch();
  auto model = fabric.setup(Layers(16, 4096));
  std::vector<double> times;
  for (int i = 0; i < 4; ++i) {
    const std::string file = path + std::to_string(i);
    fabric.barrier();
    const auto begin = Clock::now();
    fabric.save(file, model, {.format = format == "sharded" ? "sharded" : "python"});
    if (i > 0) {  // the first one meets caches that are cold
      times.push_back(ms_since(begin));
    }
    if (fabric.is_global_zero()) {
      std::filesystem::remove_all(file);
    }
    fabric.barrier();
  }
  fabric.print("save_ms ", fabric.all_reduce(median(times), fabric::ReduceOp::max));
  return 0;
}

int beside(const std::string& folder, int rounds) {
  fabric::Fabric fabric({.accelerator = "cpu"});
  fabric.launch();
  torch::set_num_threads(2);
  auto model = fabric.setup(Layers(4, 4096));
  auto optimizer = fabric.setup_optimizers(fabric::FusedAdamW(model->parameters(), {.lr = 1e-6}));
  const torch::Tensor x = torch::randn({128, 4096});
  int step = 0;
  const fabric::State state{{"model", model}, {"optimizer", optimizer}, {"step", step}};

  // The times of `steps` steps in a row, one of which is preceded by a save or not.
  enum class Save { no, inside, beside };
  double blocked = 0;
  const auto train = [&](Save save) {
    const auto begin = Clock::now();
    for (int i = 0; i < 8; ++i) {
      if (i == 1 && save != Save::no) {
        const auto before = Clock::now();
        const double waited = fabric::detail::Snapshot::waited_ms();
        const std::string path = folder + "/" + std::to_string(step) + ".pt";
        fabric.save(path, state, {.async = save == Save::beside});
        blocked = ms_since(before) - waited;  // what steps wait for is added below
      }
      optimizer.zero_grad();
      const torch::Tensor loss = model->forward(x).square().mean();
      fabric.backward(loss);
      optimizer.step();
      ++step;
    }
    fabric.wait_for_saves();
    blocked += fabric::detail::Snapshot::waited_ms();
    const double time = ms_since(begin);
    for (const auto& file : std::filesystem::directory_iterator(folder)) {
      std::filesystem::remove(file);
    }
    return time;
  };
  train(Save::no);
  train(Save::inside);
  train(Save::beside);  // makes the staging memory
  std::vector<double> plain;
  std::vector<double> inside;
  std::vector<double> beside;
  std::vector<double> synchronous;
  std::vector<double> blocking;
  for (int round = 0; round < rounds; ++round) {
    plain.push_back(train(Save::no));
    inside.push_back(train(Save::inside));
    synchronous.push_back(blocked);
    beside.push_back(train(Save::beside));
    blocking.push_back(blocked);
  }
  fabric.print("steps_ms ", median(plain));
  fabric.print("steps_with_save_ms ", median(inside));
  fabric.print("steps_with_save_beside_ms ", median(beside));
  fabric.print("save_ms ", median(synchronous));
  fabric.print("blocked_ms ", median(blocking));
  fabric.print("async_block_ratio ", median(blocking) / median(synchronous));
  fabric.print("async_total_ratio ", (median(beside) - median(plain)) / median(synchronous));
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
  if (mode == "parts" && argc > 3) {
    return parts(argv[2], argv[3]);
  }
  if (mode == "beside" && argc > 3) {
    return beside(argv[2], std::stoi(argv[3]));
  }
  std::cerr << "usage: bench_checkpoint serve | shard PATH | parts PATH sharded|python | beside "
               "FOLDER ROUNDS"
            << std::endl;
  return 2;
}
