// From options, environment and machine to a plan, as tables: no device and no MPI is needed.
#include <doctest/doctest.h>

#include <map>

#include <accelerators/error.h>
#include <fabric/connector.h>

namespace {

using fabric::AcceleratorFacts;
using fabric::Environment;
using fabric::FabricOptions;
using fabric::Machine;
using fabric::Plan;
using fabric::World;
using Ids = std::vector<int>;
using Variables = std::map<std::string, std::string>;

Environment environment(const Variables& variables) {
  return Environment::read([&](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found != variables.end() ? std::optional<std::string>(found->second) : std::nullopt;
  });
}

/// A world of equal nodes, seen from one of its ranks.
World world_of(int size, int per_node, int rank = 0) {
  World world;
  world.rank = rank;
  world.size = size;
  world.local_size = per_node;
  world.local_rank = rank % per_node;
  world.node_rank = rank / per_node;
  world.num_nodes = size / per_node;
  return world;
}

Variables mpirun(int size, int per_node, int rank = 0) {
  return {{"OMPI_COMM_WORLD_SIZE", std::to_string(size)},
          {"OMPI_COMM_WORLD_RANK", std::to_string(rank)},
          {"OMPI_COMM_WORLD_LOCAL_RANK", std::to_string(rank % per_node)},
          {"OMPI_COMM_WORLD_LOCAL_SIZE", std::to_string(per_node)}};
}

Machine gpus(int count) {
  return {.cuda_devices = count, .cuda_compiled = true};
}
Machine joined(World world, int cuda_devices = 0) {
  Machine machine = gpus(cuda_devices);
  machine.joined = world;
  return machine;
}
Machine without_mpi(Machine machine) {
  machine.mpi_compiled = false;
  return machine;
}

Plan plan_for(const FabricOptions& options, const Environment& variables, const Machine& machine) {
  return fabric::resolve(options, variables, machine);
}

/// " / "-joined, so that a failure shows all of them.
std::string said(const Plan& plan) {
  std::string text;
  for (const std::string& line : plan.decisions) {
    text += (text.empty() ? "" : " / ") + line;
  }
  return text;
}

const c10::Device kCpu(c10::DeviceType::CPU);
c10::Device cuda(int id) {
  return {c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(id)};
}

}  // namespace

TEST_SUITE("fabric.connector") {
  TEST_CASE("plain starts") {
    struct Row {
      const char* name;
      FabricOptions options;
      Machine machine;
      std::string accelerator;
      std::string strategy;
      Ids ids;
      bool relaunch;
      c10::Device device;
    };
    const std::vector<Row> rows{
        {"nothing", {}, {}, "cpu", "single_device", {0}, false, kCpu},
        {"two processes", {.devices = 2}, {}, "cpu", "ddp", {0, 1}, true, kCpu},
        {"ddp alone", {.strategy = "ddp"}, {}, "cpu", "ddp", {0}, false, kCpu},
        {"one GPU", {}, gpus(1), "cuda", "single_device", {0}, false, cuda(0)},
        {"all GPUs", {}, gpus(4), "cuda", "ddp", {0, 1, 2, 3}, true, cuda(0)},
        {"all by -1", {.devices = -1}, gpus(2), "cuda", "ddp", {0, 1}, true, cuda(0)},
        {"an id", {.devices = "3,"}, gpus(4), "cuda", "single_device", {3}, false, cuda(3)},
        {"ids", {.devices = "3, 1"}, gpus(4), "cuda", "ddp", {3, 1}, true, cuda(3)},
        {"gpu is cuda",
         {.accelerator = "gpu"},
         gpus(1),
         "cuda",
         "single_device",
         {0},
         false,
         cuda(0)},
        {"cpu beside GPUs",
         {.accelerator = "cpu"},
         gpus(4),
         "cpu",
         "single_device",
         {0},
         false,
         kCpu},
        {"single of many",
         {.strategy = "single_device"},
         gpus(4),
         "cuda",
         "single_device",
         {0},
         false,
         cuda(0)},
        {"auto without MPI",
         {},
         without_mpi(gpus(4)),
         "cuda",
         "single_device",
         {0},
         false,
         cuda(0)},
        {"one node", {.num_nodes = 1}, {}, "cpu", "single_device", {0}, false, kCpu},
    };
    for (const Row& row : rows) {
      CAPTURE(row.name);
      const Plan plan = plan_for(row.options, {}, row.machine);
      CHECK(plan.accelerator == row.accelerator);
      CHECK(plan.strategy.name() == row.strategy);
      CHECK(plan.device_ids == row.ids);
      CHECK(plan.relaunch == row.relaunch);
      CHECK(plan.device == row.device);
      CHECK(plan.world_size == static_cast<int>(row.ids.size()));
      CHECK(plan.processes_per_node == plan.world_size);
      CHECK(plan.num_nodes == 1);
      CHECK_FALSE(plan.preliminary);
    }
  }

  TEST_CASE("a joined world counts, and each process has its device") {
    struct Row {
      const char* name;
      FabricOptions options;
      Machine machine;
      std::string strategy;
      Ids ids;
      c10::Device device;
    };
    const std::vector<Row> rows{
        {"cpu", {}, joined(world_of(4, 4, 3)), "ddp", {0, 1, 2, 3}, kCpu},
        {"cpu over GPUs",
         {.accelerator = "cpu"},
         joined(world_of(4, 4), 2),
         "ddp",
         {0, 1, 2, 3},
         kCpu},
        {"alone", {}, joined(world_of(1, 1)), "single_device", {0}, kCpu},
        {"alone beside GPUs", {}, joined(world_of(1, 1), 4), "single_device", {0}, cuda(0)},
        {"rank 6 of two nodes", {}, joined(world_of(8, 4, 6), 4), "ddp", {0, 1, 2, 3}, cuda(2)},
        {"fewer than GPUs", {}, joined(world_of(2, 2, 1), 8), "ddp", {0, 1}, cuda(1)},
        {"same count",
         {.devices = 4, .num_nodes = 2},
         joined(world_of(8, 4, 5), 4),
         "ddp",
         {0, 1, 2, 3},
         cuda(1)},
        {"chosen ids", {.devices = "3, 1"}, joined(world_of(2, 2, 1), 4), "ddp", {3, 1}, cuda(1)},
        {"all", {.devices = -1}, joined(world_of(2, 2, 1), 2), "ddp", {0, 1}, cuda(1)},
    };
    for (const Row& row : rows) {
      CAPTURE(row.name);
      const World& world = *row.machine.joined;
      const Plan plan = plan_for(row.options, {}, row.machine);
      CHECK(plan.strategy.name() == row.strategy);
      CHECK(plan.device_ids == row.ids);
      CHECK(plan.device == row.device);
      CHECK(plan.world_size == world.size);
      CHECK(plan.processes_per_node == world.local_size);
      CHECK(plan.num_nodes == world.num_nodes);
      CHECK_FALSE(plan.relaunch);
    }
  }

  TEST_CASE("what cannot run says how it could") {
    struct Row {
      const char* name;
      FabricOptions options;
      Variables variables;
      Machine machine;
      std::vector<const char*> texts;
    };
    const std::vector<Row> rows{
        {"count against mpirun",
         {.devices = 2},
         mpirun(4, 4),
         joined(world_of(4, 4)),
         {"2 devices are asked for, but the job has 4 processes on this node; got devices='2'",
          "drop `devices` to take what mpirun started, or start mpirun -np 2"}},
        {"count against a world of one",
         {.devices = 2},
         mpirun(1, 1),
         joined(world_of(1, 1)),
         {"the job has 1 process on this node", "mpirun -np 2"}},
        {"count against mpirun -np 1, not joined",
         {.devices = 2},
         mpirun(1, 1),
         {},
         {"the job has 1 process on this node", "mpirun -np 2"}},
        {"count on two nodes",
         {.devices = 2},
         mpirun(8, 4),
         joined(world_of(8, 4)),
         {"mpirun -np 4 ..."}},
        {"variable against mpirun",
         {},
         {{"FABRIC_DEVICES", "3"}},
         joined(world_of(2, 2)),
         {"got devices='3' from FABRIC_DEVICES", "drop FABRIC_DEVICES"}},
        {"fewer ids",
         {.devices = "0, 1"},
         mpirun(4, 4),
         joined(world_of(4, 4), 4),
         {"2 devices are asked for", "got devices='0, 1'"}},
        {"fewer GPUs",
         {},
         mpirun(4, 4),
         joined(world_of(4, 4), 2),
         {"4 processes on this node, but 2 cuda devices", "mpirun -np 2",
          ".accelerator = \"cpu\""}},
        {"nodes against mpirun",
         {.num_nodes = 3},
         mpirun(4, 2),
         joined(world_of(4, 2)),
         {"the job runs on 2 nodes; got num_nodes=3", "drop `num_nodes` or start 3 nodes",
          "mpirun -np 6 --map-by ppr:2:node"}},
        {"nodes without launcher",
         {.devices = 4, .num_nodes = 2},
         {},
         {},
         {"more than one node needs a launcher; got num_nodes=2 and a plain start",
          "mpirun -np 8 --map-by ppr:4:node --hostfile hosts ./program"}},
        {"no node", {.num_nodes = 0}, {}, {}, {"a job needs a node; got 0; expected 1 or more"}},
        {"no node from outside",
         {},
         {{"FABRIC_NUM_NODES", "0"}},
         {},
         {"got 0 from FABRIC_NUM_NODES"}},
        {"single with two",
         {.strategy = "single_device", .devices = 2},
         {},
         {},
         {"single_device runs one process; got 'single_device' and 2 processes", "\"auto\""}},
        {"single under mpirun",
         {.strategy = "single_device"},
         mpirun(2, 2),
         joined(world_of(2, 2)),
         {"single_device runs one process"}},
        {"two without MPI",
         {.devices = 2},
         {},
         without_mpi({}),
         {"more than one process needs MPI, and this build has none; got devices='2'",
          "-DFABRIC_WITH_MPI=ON"}},
        {"mpirun without MPI",
         {},
         mpirun(2, 2),
         without_mpi({}),
         {"mpirun started 2 processes, but this build has no MPI"}},
        {"ids on the CPU",
         {.accelerator = "cpu", .devices = "0, 1"},
         {},
         {},
         {"the CPU has no ids", "got '0, 1'"}},
        {"ids on the CPU from outside",
         {},
         {{"FABRIC_DEVICES", "0, 1"}},
         {},
         {"got '0, 1' from FABRIC_DEVICES"}},
        {"no CUDA in the build",
         {.accelerator = "cuda"},
         {},
         {},
         {"got 'cuda'; expected auto or cpu", "-DFABRIC_WITH_CUDA=ON"}},
        {"no GPU", {.accelerator = "gpu"}, {}, gpus(0), {"no CUDA device is visible"}},
        {"too many GPUs", {.devices = 5}, {}, gpus(4), {"expected at most 4"}},
        {"unknown accelerator",
         {},
         {{"FABRIC_ACCELERATOR", "tpu"}},
         {},
         {"unknown accelerator; got 'tpu' from FABRIC_ACCELERATOR; expected auto, gpu, cpu or "
          "cuda"}},
        {"unknown strategy",
         {.strategy = std::string("dpp")},
         {},
         {},
         {"unknown strategy; got 'dpp'; expected auto, single_device, ddp or fsdp"}},
        {"unknown strategy from outside",
         {},
         {{"FABRIC_STRATEGY", "dpp"}},
         {},
         {"got 'dpp' from FABRIC_STRATEGY"}},
        {"bad variable", {}, {{"FABRIC_DEVICES", "many"}}, {}, {"got 'many' from FABRIC_DEVICES"}},
        {"bad precision",
         {},
         {{"FABRIC_PRECISION", "8"}},
         {},
         {"got '8' from FABRIC_PRECISION; expected 32-true"}},
        {"bad nodes", {}, {{"FABRIC_NUM_NODES", "two"}}, {}, {"got 'two' from FABRIC_NUM_NODES"}},
    };
    for (const Row& row : rows) {
      CAPTURE(row.name);
      for (const char* text : row.texts) {
        CHECK_THROWS_WITH_AS(plan_for(row.options, environment(row.variables), row.machine),
                             doctest::Contains(text), fabric::Error);
      }
    }
  }

  TEST_CASE("decisions are said") {
    CHECK(said(plan_for({}, {}, {})) ==
          "accelerator: cpu (this build has no CUDA) / strategy: single_device (1 process)");
    CHECK(said(plan_for({.accelerator = "cpu", .strategy = "ddp", .devices = 2}, {}, {})) == "");
    CHECK(said(plan_for({}, {}, gpus(4))) ==
          "accelerator: cuda (4 visible) / devices: all 4 (auto) / strategy: ddp (4 processes)");
    CHECK(said(plan_for({.strategy = "single_device"}, {}, gpus(4))) ==
          "accelerator: cuda (4 visible) / devices: 1 of 4 (strategy single_device)");
    CHECK(said(plan_for({}, {}, without_mpi(gpus(2)))) ==
          "accelerator: cuda (2 visible) / devices: 1 of 2 (this build has no MPI) / "
          "strategy: single_device (1 process)");
    CHECK(said(plan_for({.accelerator = "cuda"}, environment(mpirun(4, 2)),
                        joined(world_of(4, 2), 8))) ==
          "processes: 4 on 2 nodes (mpirun) / devices: 2 of 8 on this node (mpirun) / "
          "strategy: ddp (4 processes)");
  }

  TEST_CASE("the environment overrides the program and says so") {
    const Environment variables = environment({{"FABRIC_ACCELERATOR", "CPU"},
                                               {"FABRIC_STRATEGY", "ddp(bucket_mb=5)"},
                                               {"FABRIC_DEVICES", "4"},
                                               {"FABRIC_NUM_NODES", "1"},
                                               {"FABRIC_PRECISION", "bf16"}});
    const Plan plan = plan_for({.accelerator = "auto",
                                .strategy = "single_device",
                                .devices = 1,
                                .num_nodes = 2,
                                .precision = "64-true"},
                               variables, gpus(1));
    CHECK(plan.accelerator == "cpu");
    CHECK(plan.strategy.ddp().bucket_mb == 5);
    CHECK(plan.world_size == 4);
    CHECK(plan.precision.name() == "bf16-mixed");
    CHECK(said(plan) ==
          "accelerator: cpu (FABRIC_ACCELERATOR) / "
          "FABRIC_STRATEGY=ddp(bucket_mb=5) overrides strategy=single_device / "
          "FABRIC_DEVICES=4 overrides devices=1 / "
          "FABRIC_PRECISION=bf16 overrides precision=64-true / "
          "FABRIC_NUM_NODES=1 overrides num_nodes=2");
    CHECK(said(plan_for({.accelerator = "cpu", .strategy = "ddp", .devices = 4}, variables, {}))
              .find("FABRIC_DEVICES") == std::string::npos);  // the same value is no news
    CHECK(plan_for({.devices = 2}, environment({{"FABRIC_DEVICES", ""}}), {}).world_size == 2);
  }

  TEST_CASE("the precision of matrix products is planned and said") {
    const Plan asked = plan_for({.strategy = "ddp", .matmul_precision = "high"}, {}, gpus(1));
    CHECK(asked.matmul_precision.is("high"));
    CHECK(said(asked) ==
          "matmul_precision: high (for the whole process) / accelerator: cuda (1 visible)");
    const Environment variable = environment({{"FABRIC_MATMUL_PRECISION", "medium"}});
    const Plan overridden = plan_for({.matmul_precision = "high"}, variable, gpus(1));
    CHECK(overridden.matmul_precision.is("medium"));
    CHECK(said(overridden)
              .starts_with("FABRIC_MATMUL_PRECISION=medium overrides matmul_precision=high / "));
    CHECK(said(plan_for({}, variable, gpus(1)))
              .starts_with("matmul_precision: medium (FABRIC_MATMUL_PRECISION) / "));
    CHECK(plan_for({}, {}, {}).matmul_precision.is("keep"));
    CHECK_THROWS_WITH_AS(plan_for({}, environment({{"FABRIC_MATMUL_PRECISION", "tf32"}}), {}),
                         doctest::Contains("got 'tf32' from FABRIC_MATMUL_PRECISION"),
                         fabric::MisconfigurationError);
  }

  TEST_CASE("before joining, a launcher's variables make a preliminary plan") {
    const Plan plan = plan_for({.accelerator = "cpu", .devices = 2, .num_nodes = 4},
                               environment(mpirun(4, 4, 2)), {});
    CHECK(plan.preliminary);
    CHECK(plan.world_size == 4);
    CHECK(plan.strategy.is_auto() == false);
    CHECK_FALSE(plan.relaunch);
    // 16 processes whose nodes are not known yet are not compared with the GPUs of this one.
    const Plan slurm = plan_for({}, environment({{"PMI_SIZE", "16"}, {"PMI_RANK", "9"}}), gpus(8));
    CHECK(slurm.preliminary);
    CHECK(slurm.strategy.name() == "ddp");
    CHECK(slurm.device == cuda(7));
    CHECK_FALSE(plan_for({}, environment(mpirun(1, 1)), {}).preliminary);
    CHECK_FALSE(plan_for({}, environment(mpirun(1, 1)), without_mpi({})).preliminary);
    CHECK(plan_for({}, environment({{"PMIX_RANK", "0"}}), {}).preliminary);
  }

  TEST_CASE("registered accelerators and strategies") {
    Machine machine;
    machine.accelerators = {{"npu", c10::DeviceType::PrivateUse1, 2, 2},
                            {"off", c10::DeviceType::PrivateUse1, 0, 0}};
    machine.strategies = {"ddp", "mine"};
    const Plan plan =
        plan_for({.accelerator = std::string("npu"), .strategy = std::string("mine")}, {}, machine);
    CHECK(plan.accelerator == "npu");
    CHECK(plan.strategy.name() == "mine");
    CHECK(plan.world_size == 2);
    CHECK(plan.device == c10::Device(c10::DeviceType::PrivateUse1, 0));
    CHECK_THROWS_WITH_AS(plan_for({.accelerator = std::string("off")}, {}, machine),
                         doctest::Contains("expected auto, cpu or npu"), fabric::DeviceError);
    CHECK_THROWS_WITH_AS(plan_for({.strategy = std::string("other")}, {}, machine),
                         doctest::Contains("expected auto, single_device, ddp, fsdp or mine"),
                         fabric::MisconfigurationError);
  }

  TEST_CASE("launchers are found by their variables") {
    struct Row {
      Variables variables;
      std::optional<fabric::Launcher> launcher;
    };
    const std::vector<Row> rows{
        {{}, std::nullopt},
        {mpirun(4, 2, 3), fabric::Launcher{"mpirun", 4, 3, 1, 2}},
        {{{"OMPI_COMM_WORLD_SIZE", "4"}}, std::nullopt},
        {{{"PMI_SIZE", "4"}, {"PMI_RANK", "1"}},
         fabric::Launcher{"a PMI launcher", 4, 1, std::nullopt, std::nullopt}},
        {{{"PMIX_RANK", "2"}},
         fabric::Launcher{"a PMI launcher", std::nullopt, 2, std::nullopt, std::nullopt}},
        {{{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}}, std::nullopt},  // a batch script
        {{{"SLURM_PROCID", "1"}, {"SLURM_NTASKS", "4"}, {"SLURM_STEP_ID", "0"}},
         fabric::Launcher{"srun", 4, 1, std::nullopt, std::nullopt}},
        {{{"SLURM_PROCID", "1"},
          {"SLURM_NTASKS", "8"},
          {"SLURM_STEP_ID", "0"},
          {"SLURM_STEP_NUM_TASKS", "2"},
          {"SLURM_LOCALID", "1"},
          {"PMIX_RANK", "1"}},
         fabric::Launcher{"srun", 2, 1, 1, std::nullopt}},
    };
    for (const Row& row : rows) {
      CHECK((environment(row.variables).launcher == row.launcher));
    }
    CHECK_THROWS_WITH_AS(
        environment({{"OMPI_COMM_WORLD_SIZE", "four"}, {"OMPI_COMM_WORLD_RANK", "0"}}),
        doctest::Contains("got OMPI_COMM_WORLD_SIZE='four'"), fabric::MisconfigurationError);
  }

  TEST_CASE("variables that are probably mistyped are named") {
    CHECK(fabric::mistyped_variables({"FABRIC_DEVICES", "FABRIC_TIMEOUT", "FABRIC_DEPS", "FABRIC_",
                                      "FABRIC_HANDED_CONFIG_0", "DEVICE", "FABRIC_ROOT", "F"})
              .empty());
    CHECK(fabric::mistyped_variables({"FABRIC_DEVICE", "FABRIC_PRECISOIN", "FABRIC_UNKNOWN"}) ==
          std::vector<std::string>{
              "FABRIC_DEVICE is read by nobody. Did you mean FABRIC_DEVICES?",
              "FABRIC_PRECISOIN is read by nobody. Did you mean FABRIC_PRECISION?"});
  }

  TEST_CASE("a world that MPI does not see is an error") {
    const Environment variables = environment({{"PMI_SIZE", "4"}, {"PMI_RANK", "1"}});
    CHECK_THROWS_WITH_AS(validate(variables, world_of(1, 1)),
                         doctest::Contains("announce 4 processes, but MPI sees 1"),
                         fabric::MisconfigurationError);
    CHECK_THROWS_WITH_AS(validate(variables, world_of(1, 1)), doctest::Contains("srun --mpi=pmix"),
                         fabric::MisconfigurationError);
    CHECK_NOTHROW(validate(variables, world_of(4, 2)));
    CHECK_NOTHROW(validate({}, world_of(4, 2)));
    CHECK_NOTHROW(validate(environment({{"PMIX_RANK", "1"}}), world_of(4, 2)));
  }
}
