#include <fabric/connector.h>

#include <algorithm>

#include <accelerators/error.h>
#include <accelerators/text.h>

namespace fabric {
namespace {

using detail::str;

std::string plural(int count, const std::string& noun) {
  return str(count, " ", noun, count == 1 ? "" : noun.ends_with("s") ? "es" : "s");
}

/// Replaces `option` by the text of a variable, and says so.
template <class Choice>
void take(const char* variable, const char* option_name, const std::optional<std::string>& text,
          Choice& option, std::vector<std::string>& decisions) {
  if (!text) {
    return;
  }
  const Choice given = Choice::from_text(*text, variable);
  if (option == Choice()) {
    decisions.push_back(str(option_name, ": ", given.to_text(), " (", variable, ")"));
  } else if (!(option == given)) {
    decisions.push_back(
        str(variable, "=", *text, " overrides ", option_name, "=", option.to_text()));
  }
  option = given;
}

void take_num_nodes(const std::optional<std::string>& text, std::optional<int>& num_nodes,
                    std::vector<std::string>& decisions) {
  if (!text) {
    return;
  }
  const std::optional<int> given = detail::parse_int(detail::trim(*text));
  FABRIC_CHECK(Misconfiguration, given.has_value(), "[fabric.num_nodes] not a number; got '", *text,
               "' from FABRIC_NUM_NODES; expected the number of nodes, such as 2");
  if (!num_nodes) {
    decisions.push_back(str("num_nodes: ", *given, " (FABRIC_NUM_NODES)"));
  } else if (*num_nodes != *given) {
    decisions.push_back(str("FABRIC_NUM_NODES=", *given, " overrides num_nodes=", *num_nodes));
  }
  num_nodes = given;
}

FabricOptions with_environment(FabricOptions options, const Environment& environment,
                               std::vector<std::string>& said) {
  take("FABRIC_ACCELERATOR", "accelerator", environment.accelerator, options.accelerator, said);
  take("FABRIC_STRATEGY", "strategy", environment.strategy, options.strategy, said);
  take("FABRIC_DEVICES", "devices", environment.devices, options.devices, said);
  take_num_nodes(environment.num_nodes, options.num_nodes, said);
  take("FABRIC_PRECISION", "precision", environment.precision, options.precision, said);
  FABRIC_CHECK(Misconfiguration, options.num_nodes.value_or(1) >= 1,
               "[fabric.num_nodes] a job needs a node; got ", *options.num_nodes,
               "; expected 1 or more. Hint: leave it out to take what mpirun started.");
  return options;
}

AcceleratorFacts choose_accelerator(const AcceleratorChoice& choice, const Machine& machine,
                                    std::vector<std::string>& decisions) {
  const AcceleratorFacts cpu{"cpu", c10::DeviceType::CPU, 1, 1};
  const AcceleratorFacts cuda{"cuda", c10::DeviceType::CUDA, machine.cuda_devices,
                              machine.cuda_devices};
  if (choice.is_auto()) {
    if (cuda.available > 0) {
      decisions.push_back(str("accelerator: cuda (", plural(cuda.available, "device"), ")"));
      return cuda;
    }
    decisions.push_back(
        str("accelerator: cpu (",
            machine.cuda_compiled ? "no CUDA device is visible" : "this build has no CUDA", ")"));
    return cpu;
  }
  const std::string name(choice.name());
  if (name == "cpu") {
    return cpu;
  }
  std::vector<std::string> known{"auto", "cpu", "cuda", "gpu"};
  std::vector<std::string> usable{"cpu"};
  if (name == "cuda" || name == "gpu") {
    for (const AcceleratorFacts& other : machine.accelerators) {
      if (other.available > 0) {
        usable.push_back(other.name);
      }
    }
    FABRIC_CHECK(Device, cuda.available > 0, "[fabric.accelerator] ", name,
                 " cannot be used; got accelerator='", name, "'; expected auto or ",
                 detail::list_or(usable), ". Hint: ",
                 machine.cuda_compiled
                     ? "no CUDA device is visible: see nvidia-smi and CUDA_VISIBLE_DEVICES."
                     : "this build has no CUDA: configure with -DFABRIC_WITH_CUDA=ON and run "
                       "tools/setup --cuda.");
    return cuda;
  }
  for (const AcceleratorFacts& other : machine.accelerators) {
    if (other.name == name) {
      FABRIC_CHECK(Device, other.available > 0, "[fabric.accelerator] ", name,
                   " cannot be used: it has no device here; expected auto, ",
                   detail::list_or(usable));
      return other;
    }
    known.push_back(other.name);
  }
  FABRIC_CHECK(Misconfiguration, false, "[fabric.accelerator] unknown accelerator; got '", name,
               "'; expected ", detail::list_or(known),
               ". Hint: register_accelerator() adds one of your own; call it before Fabric.");
  __builtin_unreachable();
}

/// The world that is given from outside: joined, or announced by a launcher.
std::optional<World> given_world(const Environment& environment, const Machine& machine) {
  if (machine.joined || !environment.launcher) {
    return machine.joined;
  }
  const Launcher& launcher = *environment.launcher;
  World announced;
  announced.size = std::max(1, launcher.size.value_or(1));
  FABRIC_CHECK(Misconfiguration, announced.size == 1 || machine.mpi_compiled, "[fabric.launch] ",
               launcher.name, " started ", announced.size,
               " processes, but this build has no MPI: each would train on its own. ",
               "Hint: build with -DFABRIC_WITH_MPI=ON, or start one process.");
  announced.rank = launcher.rank;
  announced.local_size = std::max(1, launcher.local_size.value_or(announced.size));
  announced.local_rank = launcher.local_rank.value_or(launcher.rank);
  announced.num_nodes = (announced.size + announced.local_size - 1) / announced.local_size;
  return announced;
}

/// Fills the plan for a world that exists already.
void plan_given(const FabricOptions& options, const AcceleratorFacts& accelerator,
                const World& world, const std::string& launcher, Plan& plan) {
  plan.processes_per_node = world.local_size;
  plan.num_nodes = world.num_nodes;
  plan.world_size = world.size;
  FABRIC_CHECK(Misconfiguration, options.num_nodes.value_or(world.num_nodes) == world.num_nodes,
               "[fabric.num_nodes] the job runs on ", plural(world.num_nodes, "node"),
               "; got num_nodes=", *options.num_nodes, ". Hint: drop `num_nodes`, or start ",
               *options.num_nodes, " nodes: mpirun -np ", *options.num_nodes * world.local_size,
               " --map-by ppr:", world.local_size, ":node ...");
  const bool cpu = accelerator.type == c10::DeviceType::CPU;
  if (options.devices.is_auto()) {
    FABRIC_CHECK(Device, cpu || world.local_size <= accelerator.available, "[fabric.devices] ",
                 plural(world.local_size, "process"), " on this node, but ",
                 plural(accelerator.available, accelerator.name + " device"),
                 "; expected one device for each process. Hint: mpirun -np ",
                 accelerator.available * world.num_nodes, " --map-by ppr:", accelerator.available,
                 ":node ..., or .accelerator = \"cpu\".");
    plan.device_ids = resolve(Devices(world.local_size), accelerator);
    if (world.size > 1) {
      plan.decisions.push_back(str("devices: ", world.local_size,
                                   cpu ? "" : str(" of ", accelerator.available), " on each of ",
                                   plural(world.num_nodes, "node"), " (", launcher, ")"));
    } else if (!cpu && accelerator.available > 1) {
      plan.decisions.push_back(str("devices: 1 of ", accelerator.available, " (", launcher, ")"));
    }
    return;
  }
  plan.device_ids = resolve(options.devices, accelerator);
  const int asked = static_cast<int>(plan.device_ids.size());
  FABRIC_CHECK(Misconfiguration, asked == world.local_size, "[fabric.devices] ",
               plural(asked, "device"), " asked for, but ", plural(world.local_size, "process"),
               " run on this node; got devices='", options.devices.to_text(),
               "'. Hint: drop `devices` to take what ", launcher, " started, or start mpirun -np ",
               asked * world.num_nodes, " ...");
}

/// Fills the plan for a process that was started plainly.
void plan_own(const FabricOptions& options, const AcceleratorFacts& accelerator,
              const Machine& machine, Plan& plan) {
  FABRIC_CHECK(Misconfiguration, options.num_nodes.value_or(1) == 1,
               "[fabric.num_nodes] more than one node needs a launcher; got num_nodes=",
               *options.num_nodes, " and a plain start. Hint: mpirun -np ",
               *options.num_nodes * options.devices.requested().value_or(accelerator.auto_count),
               " --map-by ppr:", options.devices.requested().value_or(accelerator.auto_count),
               ":node --hostfile hosts ./program, or drop `num_nodes`.");
  plan.device_ids = resolve(options.devices, accelerator);
  if (options.devices.is_auto() && plan.device_ids.size() > 1) {
    // Left open, so what cannot use more than one device takes one.
    const std::string why = options.strategy.name() == "single_device" ? "strategy single_device"
                            : !machine.mpi_compiled                    ? "this build has no MPI"
                                                                       : "";
    if (!why.empty()) {
      plan.device_ids.resize(1);
      plan.decisions.push_back(str("devices: 1 of ", accelerator.available, " (", why, ")"));
    }
  }
  const int processes = static_cast<int>(plan.device_ids.size());
  plan.processes_per_node = plan.world_size = processes;
  plan.relaunch = processes > 1;
  if (plan.relaunch && options.devices.is_auto()) {
    plan.decisions.push_back(str("devices: all ", processes, " (auto)"));
  }
  FABRIC_CHECK(Misconfiguration, !plan.relaunch || machine.mpi_compiled,
               "[fabric.devices] more than one process needs MPI, and this build has none; got "
               "devices='",
               options.devices.to_text(),
               "'. Hint: build with -DFABRIC_WITH_MPI=ON (tools/setup brings MPI), or ask for 1.");
}

StrategyChoice choose_strategy(const StrategyChoice& choice, const Machine& machine, int world_size,
                               std::vector<std::string>& decisions) {
  if (choice.is_auto()) {
    const StrategyChoice chosen =
        world_size > 1 ? StrategyChoice("ddp") : StrategyChoice("single_device");
    decisions.push_back(str("strategy: ", chosen.name(), " (", plural(world_size, "process"), ")"));
    return chosen;
  }
  const std::string name(choice.name());
  std::vector<std::string> known{"auto", "single_device", "ddp"};
  known.insert(known.end(), machine.strategies.begin(), machine.strategies.end());
  FABRIC_CHECK(Misconfiguration, std::find(known.begin(), known.end(), name) != known.end(),
               "[fabric.strategy] unknown strategy; got '", name, "'; expected ",
               detail::list_or(known), ". Hint: register a strategy of your own before Fabric.");
  FABRIC_CHECK(
      Misconfiguration, name != "single_device" || world_size == 1,
      "[fabric.strategy] single_device runs one process; got strategy='single_device' and ",
      plural(world_size, "process"), ". Hint: write .strategy = \"ddp\" or leave it out, ",
      "or run one process: .devices = 1 without mpirun.");
  return choice;
}

}  // namespace

Plan resolve(const FabricOptions& given, const Environment& environment, const Machine& machine) {
  Plan plan;
  const FabricOptions options = with_environment(given, environment, plan.decisions);
  const AcceleratorFacts accelerator =
      choose_accelerator(options.accelerator, machine, plan.decisions);
  plan.accelerator = accelerator.name;
  plan.precision = options.precision;
  const std::optional<World> world = given_world(environment, machine);
  if (world) {
    const std::string launcher =
        environment.launcher ? environment.launcher->name : "the communicator of the program";
    plan_given(options, accelerator, *world, launcher, plan);
  } else {
    plan_own(options, accelerator, machine, plan);
  }
  plan.strategy = choose_strategy(options.strategy, machine, plan.world_size, plan.decisions);
  if (accelerator.type != c10::DeviceType::CPU) {
    const std::size_t index = world ? static_cast<std::size_t>(world->local_rank) : 0;
    // Announced ranks may be global ones where the launcher does not tell local ones.
    const int id = plan.device_ids[std::min(index, plan.device_ids.size() - 1)];
    plan.device = c10::Device(accelerator.type, static_cast<c10::DeviceIndex>(id));
  }
  return plan;
}

}  // namespace fabric
