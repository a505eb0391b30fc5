// The part of Fabric that sets models up.
#include <fabric/fabric.h>

#include <algorithm>
#include <set>
#include <unordered_map>

#include <accelerators/logging.h>
#include <fabric/simulation.h>
#include <strategies/sync_batch_norm.h>

namespace fabric {
namespace {

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

}  // namespace fabric
