// A program that chooses its strategy by the architecture, and ends with what one rank says. Prints
// what the job has.
#include <stdexcept>
#include <string>

#include <fabric/cli.h>
#include <fabric/config.h>
#include <fabric/fabric.h>

struct Net {
  struct Options {
    int width = 64;
  };
  explicit Net(const Options&) {}
};
struct Big {
  struct Options {
    int depth = 4;
  };
  explicit Big(const Options&) {}
};
using Model = fabric::OneOf<Net, Big>;

struct RunConfig {
  Model model = "Net";
  int end_with = 0;
  FABRIC_HELP(end_with, "what the last rank returns; the others return 0")
  std::string fail{};
  FABRIC_HELP(fail, "what the last rank throws while the others wait for it")
};

int run(fabric::Fabric& fabric, const RunConfig& config) {
  fabric.printf("%s on %d ranks: %s\n", config.model.name().c_str(), fabric.world_size(),
                fabric.strategy().c_str());
  const bool last = fabric.global_rank() == fabric.world_size() - 1;
  if (!config.fail.empty()) {
    if (last) {
      throw std::runtime_error(config.fail);
    }
    fabric.barrier();
  }
  return last ? config.end_with : 0;
}

std::string strategy(const Model& model) {
  const auto* net = model.get_if<Net::Options>();
  return net == nullptr ? "ddp" : net->width > 4096 ? "fsdp" : "auto";
}

int main(int argc, char** argv) {
  fabric::Cli cli("chooses");
  cli.command("run", run, "says what runs where").link("model", "fabric.strategy", strategy);
  return cli.run(argc, argv);
}
