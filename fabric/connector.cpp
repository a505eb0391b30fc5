#include <fabric/connector.h>

#include <algorithm>

#include <accelerators/error.h>
#include <accelerators/text.h>

namespace fabric {
namespace {

using detail::from;
using detail::str;

std::string plural(int count, const std::string& noun) {
  return str(count, " ", noun, count == 1 ? "" : noun.ends_with("s") ? "es" : "s");
}

/// One resolution: its inputs, where each option comes from, and the plan as it grows.
class Resolver {
 public:
  Resolver(const FabricOptions& options, const Environment& environment, const Machine& machine)
      : options_(options), environment_(environment), machine_(machine) {
    if (options_.resolved) {  // the parser has read the variables, and arguments after them
      const std::optional<Launcher> launcher = environment_.launcher;
      environment_ = Environment{};
      environment_.launcher = launcher;
    }
  }

  Plan run() {
    take_environment();
    accelerator_ = choose_accelerator(
        options_.accelerator, machine_,
        place_of("accelerator", environment_.accelerator, "FABRIC_ACCELERATOR"), plan_.decisions);
    plan_.accelerator = accelerator_.name;
    plan_.precision = options_.precision;
    plan_.unrouted = options_.unrouted;
    plan_.matmul_precision = options_.matmul_precision;
    const std::optional<World> world = given_world();
    if (world) {
      plan_given(*world);
    } else {
      plan_own();
    }
    choose_strategy();
    if (!is_cpu()) {
      // min: the local rank may be a guess while the plan is preliminary.
      const std::size_t place =
          std::min<std::size_t>(world ? world->local_rank : 0, plan_.device_ids.size() - 1);
      plan_.device =
          c10::Device(accelerator_.type, static_cast<c10::DeviceIndex>(plan_.device_ids[place]));
    }
    return std::move(plan_);
  }

 private:
  template <class... Args>
  void say(const Args&... args) {
    plan_.decisions.push_back(str(args...));
  }

  bool is_cpu() const { return accelerator_.type == c10::DeviceType::CPU; }

  /// " from FABRIC_DEVICES" if the variable decided, or what a parser found, for error texts.
  std::string source(const char* option, const std::optional<std::string>& text,
                     const char* variable) const {
    return from(place_of(option, text, variable));
  }
  std::string place_of(const char* option, const std::optional<std::string>& text,
                       const char* variable) const {
    if (!options_.resolved) {
      return text ? variable : "";
    }
    const std::string& section = options_.resolved.section();
    const config::Place& place =
        options_.resolved.origin(section.empty() ? option : section + "." + option);
    return place.given() ? place.text() : "";
  }
  std::string devices_source() const {
    return source("devices", environment_.devices, "FABRIC_DEVICES");
  }
  std::string num_nodes_source() const {
    return source("num_nodes", environment_.num_nodes, "FABRIC_NUM_NODES");
  }
  std::string launcher_name() const {
    return environment_.launcher ? environment_.launcher->name : "the program's own communicator";
  }

  /// Replaces `option` by the text of a variable, and says so.
  template <class Choice>
  void take(const char* variable, const char* name, const std::optional<std::string>& text,
            Choice& option) {
    if (!text) {
      return;
    }
    const Choice given = Choice::from_text(*text, variable);
    if (option == Choice()) {
      say(name, ": ", given.to_text(), " (", variable, ")");
    } else if (!(option == given)) {
      say(variable, "=", *text, " overrides ", name, "=", option.to_text());
    }
    option = given;
  }

  void take_environment() {
    take("FABRIC_ACCELERATOR", "accelerator", environment_.accelerator, options_.accelerator);
    take("FABRIC_STRATEGY", "strategy", environment_.strategy, options_.strategy);
    take("FABRIC_DEVICES", "devices", environment_.devices, options_.devices);
    take("FABRIC_PRECISION", "precision", environment_.precision, options_.precision);
    take("FABRIC_UNROUTED", "unrouted", environment_.unrouted, options_.unrouted);
    take("FABRIC_MATMUL_PRECISION", "matmul_precision", environment_.matmul_precision,
         options_.matmul_precision);
    if (!environment_.matmul_precision && !options_.matmul_precision.is("keep")) {
      say("matmul_precision: ", options_.matmul_precision.name(), " (for the whole process)");
    }
    if (environment_.num_nodes) {
      const std::optional<int> given = detail::parse_int(detail::trim(*environment_.num_nodes));
      FABRIC_CHECK(Misconfiguration, given.has_value(), "[fabric.num_nodes] not a number; got '",
                   *environment_.num_nodes,
                   "' from FABRIC_NUM_NODES; expected the number of nodes, such as 2");
      if (!options_.num_nodes) {
        say("num_nodes: ", *given, " (FABRIC_NUM_NODES)");
      } else if (options_.num_nodes != given) {
        say("FABRIC_NUM_NODES=", *given, " overrides num_nodes=", *options_.num_nodes);
      }
      options_.num_nodes = given;
    }
    FABRIC_CHECK(Misconfiguration, options_.num_nodes.value_or(1) >= 1,
                 "[fabric.num_nodes] a job needs a node; got ", *options_.num_nodes,
                 num_nodes_source(),
                 "; expected 1 or more. Hint: leave it out to take what mpirun started.");
  }

  /// The world that is given from outside: joined, or announced by a launcher.
  std::optional<World> given_world() {
    if (machine_.joined || !environment_.launcher) {
      return machine_.joined;
    }
    const Launcher& launcher = *environment_.launcher;
    World announced;
    announced.size = std::max(1, launcher.size.value_or(1));
    FABRIC_CHECK(Misconfiguration, announced.size == 1 || machine_.mpi_compiled, "[fabric.launch] ",
                 launcher.name, " started ", announced.size,
                 " processes, but this build has no MPI: each would train on its own. ",
                 "Hint: build with -DFABRIC_WITH_MPI=ON, or start one process.");
    // A world of one needs no joining: nothing more will be known of it.
    plan_.preliminary = machine_.mpi_compiled && launcher.size != 1;
    announced.rank = launcher.rank;
    announced.local_size = std::max(1, launcher.local_size.value_or(announced.size));
    announced.local_rank = launcher.local_rank.value_or(launcher.rank);
    announced.num_nodes = (announced.size + announced.local_size - 1) / announced.local_size;
    return announced;
  }

  /// Fills the plan for a world that exists already.
  void plan_given(const World& world) {
    plan_.processes_per_node = world.local_size;
    plan_.num_nodes = world.num_nodes;
    plan_.world_size = world.size;
    if (world.size > 1) {
      say("processes: ", world.size, " on ", plural(world.num_nodes, "node"), " (", launcher_name(),
          ")");
    }
    const std::optional<int> nodes = options_.num_nodes;
    FABRIC_CHECK(Misconfiguration,
                 plan_.preliminary || nodes.value_or(world.num_nodes) == world.num_nodes,
                 "[fabric.num_nodes] the job runs on ", plural(world.num_nodes, "node"),
                 "; got num_nodes=", *nodes, num_nodes_source(), ". Hint: drop ",
                 environment_.num_nodes ? "FABRIC_NUM_NODES" : "`num_nodes`", " or start ", *nodes,
                 " nodes: mpirun -np ", *nodes * world.local_size,
                 " --map-by ppr:", world.local_size, ":node ...");
    if (!options_.devices.is_auto() || plan_.preliminary) {
      plan_.device_ids = ids();
    }
    if (plan_.preliminary) {
      return;  // how many processes share this node is known after joining
    }
    if (options_.devices.is_auto()) {
      const int available = accelerator_.available;
      FABRIC_CHECK(Device, is_cpu() || world.local_size <= available, "[fabric.devices] ",
                   plural(world.local_size, "process"), " on this node, but ",
                   plural(available, accelerator_.name + " device"),
                   "; expected a device for each process. Hint: mpirun -np ",
                   available * world.num_nodes, " --map-by ppr:", available,
                   ":node ..., or .accelerator = \"cpu\".");
      plan_.device_ids = resolve(Devices(world.local_size), accelerator_);
      if (!is_cpu() && world.local_size < available) {
        say("devices: ", world.local_size, " of ", available, " on this node (", launcher_name(),
            ")");
      }
      return;
    }
    const int asked = static_cast<int>(plan_.device_ids.size());
    FABRIC_CHECK(Misconfiguration, asked == world.local_size, "[fabric.devices] ",
                 plural(asked, "device"), asked == 1 ? " is" : " are",
                 " asked for, but the job has ", plural(world.local_size, "process"),
                 " on this node; got devices='", options_.devices.to_text(), "'", devices_source(),
                 ". Hint: drop ", environment_.devices ? "FABRIC_DEVICES" : "`devices`",
                 " to take what ", launcher_name(), " started, or start mpirun -np ",
                 asked * world.num_nodes, " ...");
  }

  /// Fills the plan for a process that was started plainly: one process for each device.
  void plan_own() {
    const int nodes = options_.num_nodes.value_or(1);
    const int on_each = options_.devices.requested().value_or(accelerator_.auto_count);
    FABRIC_CHECK(Misconfiguration, nodes == 1,
                 "[fabric.num_nodes] more than one node needs a launcher; got num_nodes=", nodes,
                 num_nodes_source(), " and a plain start. Hint: mpirun -np ", nodes * on_each,
                 " --map-by ppr:", on_each, ":node --hostfile hosts ./program, or drop ",
                 environment_.num_nodes ? "FABRIC_NUM_NODES." : "`num_nodes`.");
    plan_.device_ids = ids();
    if (options_.devices.is_auto() && plan_.device_ids.size() > 1) {
      // Left open, so what cannot use more than one device takes one.
      const bool single = options_.strategy.name() == "single_device";
      if (single || !machine_.mpi_compiled) {
        plan_.device_ids.resize(1);
        say("devices: 1 of ", accelerator_.available, " (",
            single ? "strategy single_device" : "this build has no MPI", ")");
      } else {
        say("devices: all ", plan_.device_ids.size(), " (auto)");
      }
    }
    const int processes = static_cast<int>(plan_.device_ids.size());
    plan_.processes_per_node = plan_.world_size = processes;
    plan_.relaunch = processes > 1;
    FABRIC_CHECK(Misconfiguration, !plan_.relaunch || machine_.mpi_compiled,
                 "[fabric.devices] more than one process needs MPI, and this build has none; got ",
                 "devices='", options_.devices.to_text(), "'", devices_source(),
                 ". Hint: build with -DFABRIC_WITH_MPI=ON (tools/setup brings MPI), or ask for 1.");
  }

  std::vector<int> ids() const {
    return resolve(options_.devices, accelerator_,
                   place_of("devices", environment_.devices, "FABRIC_DEVICES"));
  }

  void choose_strategy() {
    plan_.strategy = options_.strategy;
    if (options_.strategy.is_auto()) {
      plan_.strategy =
          plan_.world_size > 1 ? StrategyChoice("ddp") : StrategyChoice("single_device");
      say("strategy: ", plan_.strategy.name(), " (", plural(plan_.world_size, "process"), ")");
    }
    const std::string name(plan_.strategy.name());
    std::vector<std::string> known{"auto", "single_device", "ddp", "fsdp"};
    for (const std::string& one : machine_.strategies) {
      if (std::find(known.begin(), known.end(), one) == known.end()) {
        known.push_back(one);
      }
    }
    const std::string given =
        str("'", name, "'", source("strategy", environment_.strategy, "FABRIC_STRATEGY"));
    FABRIC_CHECK(Misconfiguration, std::find(known.begin(), known.end(), name) != known.end(),
                 "[fabric.strategy] unknown strategy; got ", given, "; expected ",
                 detail::list_or(known), ". Hint: register a strategy of your own before Fabric.");
    FABRIC_CHECK(
        Misconfiguration, name != "single_device" || plan_.world_size == 1,
        "[fabric.strategy] single_device runs one process; got ", given, " and ",
        plural(plan_.world_size, "process"),
        "; expected ddp, fsdp or auto. Hint: .strategy = \"auto\" fits itself to the job, ",
        "and .devices = 1 without mpirun is one process.");
  }

  FabricOptions options_;
  Environment environment_;
  const Machine& machine_;
  AcceleratorFacts accelerator_;
  Plan plan_;
};

}  // namespace

Plan resolve(const FabricOptions& options, const Environment& environment, const Machine& machine) {
  return Resolver(options, environment, machine).run();
}

}  // namespace fabric
