// A program with a configuration of every kind, for tests of its screens: prints what it got. It
// uses no MPI, whatever starts it.
#include <chrono>
#include <iostream>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <fabric/config.h>

enum class Activation { relu, gelu, auto_ };

struct Model {
  int width = 64;
  FABRIC_HELP(width, "units of a layer")
  Activation activation = Activation::auto_;
  FABRIC_HELP(activation, "what stands between layers; auto takes gelu above 512 units")
  std::vector<int> layers{1, 2};
  std::optional<double> dropout{};
  FABRIC_HELP(dropout, "share of units that are left out")
  std::string invalid() const {
    return width > 0 ? "" : "width is above 0; got " + std::to_string(width);
  }
};

struct Config {
  fabric::Required<std::filesystem::path> data{};
  FABRIC_HELP(
      data,
      "folder of the data set, which has to have a file for each split that is used in this run")
  int epochs = 3;
  FABRIC_HELP(epochs, "passes over the data")
  double lr = 1e-3;
  bool verbose = false;
  std::map<std::string, double> weights{{"first", 1}};
  std::chrono::seconds patience{90};
  Model model{};
  FABRIC_HELP(model, "what is trained")
  std::optional<Model> teacher{};
  FABRIC_HELP(teacher, "whose outputs are learned; left out: those of the data")
};

int main(int argc, char** argv) {
  const auto config = fabric::config::parse<Config>(argc, argv,
                                                    {.program = "train",
                                                     .about = "trains a network",
                                                     .environment = "TRAIN_",
                                                     .default_files = {"train.yaml"}});
  std::cout << "training " << config->epochs << " epochs\n";
}
