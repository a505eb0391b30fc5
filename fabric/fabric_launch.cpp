// The part of Fabric that joins or starts a job.
#include <fabric/fabric.h>

#include <accelerators/collectives/fake/fake.h>
#include <accelerators/logging.h>
#include <accelerators/registry.h>
#include <fabric/config/run/hand_over.h>
#include <fabric/config/sources/variables.h>
#include <fabric/launch.h>
#include <fabric/simulation.h>
#include <fabric/startup.h>
#include <strategies/registry.h>

namespace fabric {
namespace {

// One text for everything all ranks must have resolved alike.
std::string common_part(const Plan& plan) {
  return detail::str(plan.accelerator, ' ', plan.strategy.to_text(), ' ', plan.precision.name(),
                     ' ', plan.num_nodes, ' ', plan.world_size);
}

void check_same_plan(const Plan& plan, const detail::Communicators& group) {
  const std::string first = detail::broadcast(group, common_part(plan), 0);
  const bool same = first == common_part(plan);
  const auto agreeing = detail::all_reduce_number(group, std::int64_t{same}, ReduceOp::min);
  FABRIC_CHECK(Misconfiguration, agreeing == 1, "[fabric.launch] ranks resolved different plans; ",
               "got '", common_part(plan), "' here and '", first, "' on rank 0 (accelerator, ",
               "strategy, precision, nodes, world). Hint: give all ranks the same options and ",
               "FABRIC_… variables.");
}

std::vector<std::string> variable_names() {
  std::vector<std::string> names;
  for (const auto& [name, value] : config::detail::read_variables()) {
    names.push_back(name);
  }
  return names;
}

// The options on the CPU of a simulated world, whatever machine they are meant for.
FabricOptions anywhere(FabricOptions options) {
  options.accelerator = "cpu";
  options.devices = "auto";
  options.num_nodes.reset();
  return options;
}

}  // namespace

void Fabric::launch() {
  launch(0, nullptr);
}

void Fabric::launch(int argc, const char* const* argv) {
  if (launched()) {
    return;
  }
  const Environment environment = Environment::read();
  // mpirun -np 1 needs no MPI: a world of one costs nothing.
  if (environment.launcher && environment.launcher->size != 1 && mpi::compiled()) {
    validate(environment, mpi::join());
  }
  start(environment, argc, argv);
}

void Fabric::launch_over(const mpi::ForeignCommunicator& communicator) {
  if (launched()) {
    return;
  }
  mpi::join(communicator);
  Environment environment = Environment::read();
  environment.launcher.reset();  // the program's communicator counts, whatever started it
  start(environment, 0, nullptr);
}

void Fabric::start(const Environment& environment, int argc, const char* const* argv) {
  Machine machine = Machine::read();
  detail::Simulation::begin_if_asked();
  if (mpi::joined() || fake::joined()) {
    machine.joined = world();
  }
  auto job = std::make_shared<detail::Job>();
  job->plan = resolve(fake::joined() ? anywhere(options_) : options_, environment, machine);
  if (job->plan.relaunch) {
    config::detail::hand_over(options_.resolved);
    relaunch(job->plan, argc, argv, detail::quiet());
  }
  config::detail::forget_handed();
  const c10::Device device = job->plan.device;
  get_accelerator(job->plan.accelerator).set_device(device);
  job->communicators.user = make_communicator("user", device);
  job->communicators.control = make_communicator("control", c10::Device(c10::kCPU));
  if (job->plan.world_size > 1) {
    check_same_plan(job->plan, job->communicators);
    detail::check_same_configuration(options_.resolved, job->communicators);
  }
  const StrategyChoice& strategy = job->plan.strategy;
  job->strategy = make_strategy(std::string(strategy.name()),
                                {.device = device, .options = strategy.options()});
  job->precision = std::make_shared<Precision>(job->plan.precision, device);
  if (job->precision->scales_loss()) {
    job->scaler = std::make_shared<GradScaler>(options_.grad_scaler,
                                               make_communicator("loss scaling", device), device);
  }
  if (const auto& choice = job->plan.matmul_precision; !choice.is("keep")) {
    at::globalContext().setFloat32MatmulPrecision(choice.to_text());
  }
  detail::Communicators beside;
  if (job->plan.world_size > 1 && mpi::several_threads()) {
    beside.user = beside.control = make_communicator("saves", c10::Device(c10::kCPU));
  }
  job->saves = std::make_shared<detail::AsyncSaves>(std::move(beside));
  for (const std::string& decision : job->plan.decisions) {
    detail::log_info(decision);
  }
  for (const std::string& line : mistyped_variables(variable_names())) {
    detail::log_warning(line);
  }
  if (options_.resolved) {
    detail::log_info(startup_table(job->plan, options_.resolved));
  }
  job_ = std::move(job);
}

const detail::Job& Fabric::job(const char* call) {
  if (!job_) {
    const Environment environment = Environment::read();
    const bool alone = (!environment.launcher || environment.launcher->size == 1) &&
                       resolve(options_, environment, Machine::read()).world_size == 1;
    FABRIC_CHECK(NotLaunched, alone, "[fabric.", call,
                 "] needs a launched Fabric; this program runs ",
                 "as several processes. Hint: call fabric.launch(argc, argv) first, right after ",
                 "the Fabric object is made.");
    start(environment, 0, nullptr);
  }
  return *job_;
}

}  // namespace fabric
