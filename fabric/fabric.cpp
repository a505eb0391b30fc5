#include <fabric/fabric.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <exception>
#include <iostream>

#include <accelerators/collectives/patience.h>
#include <accelerators/logging.h>
#include <accelerators/registry.h>
#include <strategies/explicit_backward.h>
#include <strategies/flat/parameter_use.h>

namespace fabric {

Fabric::Fabric(FabricOptions options)
    : options_(std::move(options)), exceptions_at_birth_(std::uncaught_exceptions()) {}

Fabric::~Fabric() {
  if (std::uncaught_exceptions() > exceptions_at_birth_ && job_ && job_->plan.world_size > 1) {
    mpi::announce_departure("an exception left the scope of its Fabric object");
  }
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

// ---- data ---------------------------------------------------------------------------------------

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

// ---- values over ranks --------------------------------------------------------------------------

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

// ---- output -------------------------------------------------------------------------------------

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
