#include <fabric/fabric.h>

#include <cstdarg>
#include <cstdio>
#include <exception>
#include <iostream>
#include <set>
#include <unordered_map>

#include <ATen/ATen.h>
#include <c10/util/hash.h>

#include <accelerators/collectives/fake/fake.h>
#include <accelerators/collectives/patience.h>
#include <accelerators/logging.h>
#include <accelerators/registry.h>
#include <fabric/config/run/hand_over.h>
#include <fabric/launch.h>
#include <fabric/simulation.h>
#include <fabric/startup.h>
#include <strategies/explicit_backward.h>
#include <strategies/flat/parameter_use.h>
#include <strategies/registry.h>
#include <strategies/sync_batch_norm.h>

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

// The options on the CPU of a simulated world, whatever machine they are meant for.
FabricOptions anywhere(FabricOptions options) {
  options.accelerator = "cpu";
  options.devices = "auto";
  options.num_nodes.reset();
  return options;
}

/// Which parameters belong to which set-up model, over all Fabric objects of the process.
std::unordered_map<const c10::TensorImpl*, std::weak_ptr<detail::ModelCore>>& owners() {
  static std::unordered_map<const c10::TensorImpl*, std::weak_ptr<detail::ModelCore>> map;
  return map;
}

void check_unowned(const std::string& label, const ModelTensors& tensors) {
  std::size_t taken = 0;
  const NamedTensor* example = nullptr;
  std::shared_ptr<detail::ModelCore> owner;
  for (const NamedTensor& named : tensors.parameters) {
    const auto found = owners().find(named.tensor.unsafeGetTensorImpl());
    if (found == owners().end()) {
      continue;
    }
    if (auto core = found->second.lock()) {
      if (!owner) {
        owner = core;
        example = &named;
      }
      ++taken;
    }
  }
  if (!owner) {
    return;
  }
  FABRIC_CHECK(
      Misconfiguration, taken < tensors.parameters.size(), "[fabric.setup] ", label,
      " has been set up already. Hint: use the FabricModule that the first setup returned.");
  FABRIC_CHECK(Misconfiguration, false, "[fabric.setup] ", label, " shares parameters with ",
               owner->label, ", which was set up before; got ", taken, " of its ",
               tensors.parameters.size(), " parameters there, for example '", example->name,
               "'. Each parameter may belong to one set-up model. Hint: put both into one module, ",
               "set that up, and call its parts through marked or registered methods.");
}

// Module::to would take integers along.
void convert_floating(const ModelTensors& tensors, at::ScalarType dtype) {
  for (const auto* list : {&tensors.parameters, &tensors.buffers}) {
    for (const NamedTensor& named : *list) {
      fabric::convert_floating(named.tensor, dtype);
    }
  }
}

void warn_of_mixed_devices(const std::string& label, const ModelTensors& tensors) {
  std::set<std::string> devices;
  for (const NamedTensor& named : tensors.parameters) {
    if (!is_deferred(named.tensor)) {
      devices.insert(named.tensor.device().str());
    }
  }
  if (devices.size() > 1) {
    std::string list;
    for (const std::string& device : devices) {
      list += (list.empty() ? "" : ", ") + device;
    }
    detail::log_warning(detail::str("[fabric.setup] the parameters of ", label, " lie on several ",
                                    "devices (", list, "); setup moves all of them to one. Pass ",
                                    "{.move_to_device = false} to keep them where they are."));
  }
}

}  // namespace

// ---- launch -------------------------------------------------------------------------------------

Fabric::Fabric(FabricOptions options)
    : options_(std::move(options)), exceptions_at_birth_(std::uncaught_exceptions()) {}

Fabric::~Fabric() {
  if (std::uncaught_exceptions() > exceptions_at_birth_ && job_ && job_->plan.world_size > 1) {
    mpi::announce_departure("an exception left the scope of its Fabric object");
  }
}

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

// ---- what runs where ----------------------------------------------------------------------------

int Fabric::global_rank() const {
  return world().rank;
}
int Fabric::local_rank() const {
  return world().local_rank;
}
int Fabric::node_rank() const {
  return world().node_rank;
}
int Fabric::world_size() const {
  return world().size;
}
int Fabric::num_nodes() const {
  return world().num_nodes;
}
c10::Device Fabric::device() {
  return job("device").plan.device;
}
std::string Fabric::strategy() {
  return std::string(job("strategy").plan.strategy.name());
}
std::string Fabric::accelerator() {
  return job("accelerator").plan.accelerator;
}
std::string Fabric::precision() {
  return std::string(job("precision").plan.precision.name());
}

// ---- setup --------------------------------------------------------------------------------------

namespace {

// Models that nobody can call any more: no handle is left, and the user's module is gone.
void release_abandoned(std::vector<std::shared_ptr<detail::ModelCore>>& models) {
  std::erase_if(models, [](const std::shared_ptr<detail::ModelCore>& core) {
    if (core.use_count() > 1 || !core->abandoned()) {
      return false;
    }
    for (const at::Tensor& parameter : core->parameters) {
      owners().erase(parameter.unsafeGetTensorImpl());
    }
    return true;
  });
}

std::string unique_label(const std::string& label,
                         const std::vector<std::shared_ptr<detail::ModelCore>>& models) {
  std::string candidate = label;
  for (int number = 2;; ++number) {
    const bool taken = std::any_of(models.begin(), models.end(),
                                   [&](const auto& core) { return core->label == candidate; });
    if (!taken) {
      return candidate;
    }
    candidate = detail::str(label, " ", number);
  }
}

}  // namespace

void Fabric::setup_core(const std::shared_ptr<detail::ModelCore>& core, detail::ModuleView view,
                        SetupOptions options) {
  job("setup");
  detail::Job& job = *job_;
  release_abandoned(job.models);
  core->label = unique_label(view.label, job.models);
  ModelTensors tensors = view.tensors();
  check_unowned(core->label, tensors);
  const std::size_t user_references =
      tensors.parameters.empty() ? 0 : tensors.parameters.front().tensor.use_count() - 1;

  if (options.move_to_device) {
    warn_of_mixed_devices(core->label, tensors);
  }
  if (options.move_to_device || job.strategy->materialises()) {
    detail::check_values_known(core->label, tensors);
  }
  const bool deferred = detail::materialise_model(tensors, *job.strategy, job.plan.device);
  {
    std::optional<DeferredInit> recording;
    if (deferred) {
      recording.emplace();
    }
    if (const auto dtype = job.precision->parameter_dtype()) {
      convert_floating(tensors, *dtype);
    }
    if (options.memory_format.is("channels_last")) {
      detail::convert_to_channels_last(tensors);
    }
  }
  if (options.move_to_device && deferred) {
    detail::move_present(tensors, job.plan.device);
  } else if (options.move_to_device) {
    view.move(job.plan.device);
    tensors = view.tensors();
  }
  core->device = job.plan.device;
  if (!options.move_to_device && !deferred && !tensors.parameters.empty()) {
    core->device = tensors.parameters.front().tensor.device();
  }
  core->strategy = job.strategy;
  core->precision = job.precision;
  core->training = view.training;
  core->switch_mode = view.switch_mode;
  core->channels_last = options.memory_format.is("channels_last");
  core->scaler = job.scaler;
  core->guards_outputs = job.strategy->acts_in_backward() || job.scaler;
  core->left_out =
      std::make_shared<detail::LeftOutModules>(core->label, tensors.modules, options.checkpoint);
  core->entries = {{"forward", EntryOrigin::forward, {}}};
  for (const NamedTensor& named : tensors.parameters) {
    core->parameters.push_back(named.tensor);
    owners()[named.tensor.unsafeGetTensorImpl()] = core;
  }
  core->managed = job.strategy->manage(core->label, tensors);
  refresh_batch_norm_anchors();  // moves and conversions replace data and, with it, keys
  core->input_dtype = core->managed->input_dtype();
  core->output_dtype = core->managed->output_dtype();
  core->guard =
      detail::UnroutedGuard::make(*core, job.plan.unrouted, std::move(tensors.parameters));
  if (!core->abandoned && !core->parameters.empty()) {
    // A module on the user's stack, or a TorchScript handle: gone when only we refer to it.
    const std::size_t ours = core->parameters.front().use_count() - user_references;
    core->abandoned = [parameters = &core->parameters, ours] {
      return parameters->front().use_count() <= ours;
    };
  } else if (!core->abandoned) {
    core->abandoned = [] { return false; };
  }
  job.models.push_back(core);
  if (detail::Simulation* simulation = detail::Simulation::current()) {
    simulation->watch(core);
  }
}

int Fabric::synchronise_batch_norms(const std::vector<detail::BatchNormLayer>& layers) {
  const c10::Device device = job("convert_sync_batchnorm").plan.device;
  for (const detail::BatchNormLayer& layer : layers) {
    FABRIC_CHECK(Misconfiguration, layer.anchor.defined(), "[fabric.convert_sync_batchnorm] the ",
                 "layer '", layer.name,
                 "' has neither running statistics nor weights, by which it ",
                 "could be recognised. Hint: give it affine(true) or track_running_stats(true).");
  }
  if (!layers.empty()) {
    const Communicator communicator = make_communicator("sync_batchnorm", device);
    for (const detail::BatchNormLayer& layer : layers) {
      synchronise_batch_norm(layer.anchor, communicator);
    }
  }
  return static_cast<int>(layers.size());
}

// ---- training -----------------------------------------------------------------------------------

void Fabric::backward(const at::Tensor& loss, const at::Tensor& gradient,
                      std::optional<bool> retain_graph, bool create_graph) {
  Strategy& strategy = *job("backward").strategy;
  strategy.before_backward();
  try {
    const ExplicitBackward ours;
    const RoutedScope uses;
    GradScaler* scaler = job_->scaler.get();
    loss.backward(scaler ? scaler->begin_backward(loss, gradient) : gradient, retain_graph,
                  create_graph);
  } catch (...) {
    strategy.abandon_backward();
    throw;
  }
  strategy.after_backward();
}

Throughput Fabric::throughput(ThroughputOptions options) {
  const detail::Job& here = job("throughput");
  if (!options.device) {
    options.device = here.plan.device;
    options.device_name = get_accelerator(here.plan.accelerator).device_name(here.plan.device);
  }
  if (!options.dtype) {
    options.dtype = here.precision->autocast_dtype().value_or(
        here.precision->parameter_dtype().value_or(at::kFloat));
    for (const auto& model : here.models) {
      options.dtype = model->input_dtype.value_or(*options.dtype);  // fsdp's param_dtype
    }
  }
  if (options.processes == 0) {
    options.processes = world_size();
  }
  return Throughput(std::move(options));
}

ForbidSynchronisation Fabric::forbid_synchronisation() {
  return ForbidSynchronisation(
      get_accelerator(job("forbid_synchronisation").plan.accelerator).forbid_synchronisation());
}

std::shared_ptr<detail::StepCapture> Fabric::step_capture() {
  const detail::Job& here = job("capture");
  const std::string_view strategy = here.plan.strategy.name();
  std::unique_ptr<DeviceGraph> graph;
  std::string reason;
  if (!here.communicators.user.alone()) {
    reason = "ranks agree on the host on what they reduce";
  } else if (strategy != "single_device" && strategy != "ddp") {
    reason = detail::str("strategy ", strategy, " acts on the host");
  } else if (here.scaler) {
    reason = "the loss scale of 16-mixed is kept up by the host";
  } else {
    graph = get_accelerator(here.plan.accelerator).make_graph(here.plan.device);
    reason = graph ? "" : detail::str(here.plan.accelerator, " has no graphs");
  }
  if (!graph && !std::exchange(eager_capture_said_, true)) {
    detail::log_info(detail::str("captured steps run as they are: ", reason));
  }
  return std::make_shared<detail::StepCapture>(
      std::move(graph), here.plan.device,
      detail::StepCapture::Hooks{.forbid_synchronisation =
                                     [accelerator = here.plan.accelerator] {
                                       return get_accelerator(accelerator).forbid_synchronisation();
                                     },
                                 .tensors =
                                     [job = job_] {
                                       std::vector<at::Tensor> tensors;
                                       for (const auto& model : job->models) {
                                         for (const at::Tensor& parameter : model->parameters) {
                                           tensors.push_back(parameter);
                                           if (parameter.grad().defined()) {
                                             tensors.push_back(parameter.grad());
                                           }
                                         }
                                       }
                                       return tensors;
                                     }});
}

GradScaler& Fabric::grad_scaler() {
  const auto& scaler = job("grad_scaler").scaler;
  FABRIC_CHECK(Misconfiguration, scaler != nullptr, "[fabric.grad_scaler] nothing is scaled under ",
               precision(), "; expected \"16-mixed\". Hint: ask fabric.precision() first.");
  return *scaler;
}

std::vector<NamedTensor> Fabric::unscaled(std::vector<NamedTensor> norms,
                                          const ModelTensors& tensors) {
  for (NamedTensor& norm : norms) {
    const auto parameter =
        std::find_if(tensors.parameters.begin(), tensors.parameters.end(),
                     [&](const NamedTensor& named) { return named.name == norm.name; });
    if (job_->scaler && job_->scaler->holds_scaled(parameter->tensor)) {
      norm.tensor = norm.tensor / job_->scaler->scale();
    }
  }
  return norms;
}

void Fabric::unscale(torch::optim::Optimizer& optimizer) {
  if (GradScaler* scaler = job("clip_gradients").scaler.get()) {
    job_->strategy->before_step(optimizer);
    scaler->unscale(optimizer);
  }
}

NoBackwardSync::NoBackwardSync(std::vector<ManagedModel*> models) {
  for (ManagedModel* model : models) {
    before_.emplace_back(model, model->set_sync(false));
  }
}

NoBackwardSync::~NoBackwardSync() {
  for (const auto& [model, enabled] : before_) {
    model->set_sync(enabled);
  }
}

// ---- data
// ---------------------------------------------------------------------------------------

void Fabric::wait_for_saves() {
  const detail::StateJob here = state_job("wait_for_saves");
  here.saves->finish(here);
}

detail::StateJob Fabric::state_job(const char* call) {
  const detail::Job& here = job(call);
  return {.group = &here.communicators,
          .models = here.models,
          .strategy = here.strategy,
          .device = device(),
          .accumulating = *here.accumulating,
          .saves = here.saves.get()};
}

LoaderContext Fabric::loader_context() {
  const c10::Device device = job("make_data_loader").plan.device;
  return {.rank = static_cast<std::size_t>(global_rank()),
          .world_size = static_cast<std::size_t>(world_size()),
          .seed = global_seed().value_or(0),
          .device = device};
}

void Fabric::say_batch_size(std::size_t batch_size, std::size_t global_batch_size) {
  if (world_size() > 1 && !std::exchange(batch_size_said_, true)) {
    detail::log_info(detail::str("batches of ", batch_size, " on each of ", world_size(),
                                 " processes: ", global_batch_size, " in all"));
  }
}

// ---- values over ranks
// --------------------------------------------------------------------------

void Fabric::barrier() {
  job("barrier").communicators.control.barrier();
}

Fabric::RankZeroFirst::RankZeroFirst(Fabric& fabric, bool local)
    : fabric_(fabric), first_((local ? world().local_rank : world().rank) == 0) {
  fabric_.job("rank_zero_first");
}

void Fabric::RankZeroFirst::wait_for_first() {
  if (first_) {
    return;
  }
  // The first rank of each node (or of the job) reports how it went; any failure is everyone's.
  const Patience patience;  // the first one may take as long as it likes
  const auto& group = fabric_.job_->communicators;
  const auto failed = detail::all_reduce_number(group, std::int64_t{-1}, ReduceOp::max);
  if (failed >= 0) {
    told_ = true;
    const std::string text = detail::broadcast(group, std::string(), static_cast<int>(failed));
    throw Error("[fabric.rank_zero_first] the work failed on rank " + std::to_string(failed) +
                ", which goes first: " + text);
  }
}

void Fabric::RankZeroFirst::done(const char* error) {
  if (!first_ || std::exchange(told_, true)) {
    return;
  }
  const auto& group = fabric_.job_->communicators;
  const std::int64_t mine = error ? world().rank : -1;
  const auto failed = detail::all_reduce_number(group, mine, ReduceOp::max);
  if (failed >= 0) {
    const std::string text =
        detail::broadcast(group, std::string(error ? error : ""), static_cast<int>(failed));
    if (!error) {
      throw Error("[fabric.rank_zero_first] the work failed on rank " + std::to_string(failed) +
                  ", which goes first: " + text);
    }
  }
}

// ---- output
// -------------------------------------------------------------------------------------

void Fabric::write_line(const std::string& text) const {
  if (is_global_zero()) {
    std::cout << text + "\n" << std::flush;
  }
}

void Fabric::printf(const char* format, ...) const {
  if (!is_global_zero()) {
    return;
  }
  std::va_list arguments;
  va_start(arguments, format);
  std::vprintf(format, arguments);
  va_end(arguments);
  std::fflush(stdout);
}

}  // namespace fabric
