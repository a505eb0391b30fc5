#include <fabric/detail/unrouted_guard.h>

#include <ATen/autocast_mode.h>

#include <accelerators/collectives/world.h>
#include <accelerators/error.h>
#include <accelerators/logging.h>
#include <fabric/detail/model_core.h>
#include <strategies/write_announcement.h>

namespace fabric::detail {
namespace {

// What the user can do about it; the end of both texts.
std::string cure(const std::string& model) {
  return str("Hint: call the method through the FabricModule of ", model,
             ": mark it with FABRIC_INFERENCE_ENTRY(name) or register it with ",
             "model.register_forward_method(&Net::name); free functions and several models go ",
             "through fabric.routed(function, model).");
}

}  // namespace

std::shared_ptr<UnroutedGuard> UnroutedGuard::make(const ModelCore& core, UnroutedChoice choice,
                                                   std::vector<NamedTensor> parameters) {
  const bool throws = choice.is("error");
  const bool something_to_miss =
      core.precision->mixed() || !core.managed->missing_outside_call(/*training=*/true).empty();
  const bool speaks = throws || (!choice.is("allow") && world().rank == 0 && something_to_miss);
  if (!speaks && !core.scaler) {
    return nullptr;
  }
  std::shared_ptr<UnroutedGuard> guard(new UnroutedGuard(core, throws));
  guard->said_ = !speaks;
  guard->watched_ = std::make_unique<WatchedParameters>(std::move(parameters), guard);
  return guard;
}

void UnroutedGuard::announce_writes(ModelCore& core, const std::vector<NamedTensor>& parameters) {
  if (!core.guard) {
    core.guard.reset(new UnroutedGuard(core, /*throws=*/false));
    core.guard->said_ = true;
    core.guard->watched_ = std::make_unique<WatchedParameters>(parameters, core.guard);
  }
}

std::string UnroutedGuard::skipped() const {
  std::string text = core_.managed->missing_outside_call(core_.training());
  if (core_.precision->mixed() && !at::autocast::is_autocast_enabled(core_.device.type())) {
    text = str(core_.precision->choice().name(), text.empty() ? "" : " and ", text);
  }
  return text;
}

std::function<void()> UnroutedGuard::before_use(const std::string& parameter,
                                                const std::string& operator_name) {
  FABRIC_CHECK(Routing, !throws_, "[fabric.unrouted] parameter '", parameter, "' of ", core_.label,
               " is used by ", operator_name, " outside a routed call, which unrouted = \"error\" ",
               "forbids. ", cure(core_.label),
               " A value that needs no gradient is read under torch::NoGradGuard.");
  if (said_) {
    return nullptr;
  }
  const std::string missing = skipped();
  if (missing.empty()) {
    return nullptr;
  }
  return [weak = weak_from_this(), parameter, operator_name, missing] {
    const auto self = weak.lock();
    if (self && !self->said_.exchange(true)) {
      log_warning(str("[fabric.unrouted] ", self->core_.label,
                      " was trained outside a routed call: ", operator_name, " used parameter '",
                      parameter, "' without ", missing,
                      "; its gradients are synchronised all the same. ", cure(self->core_.label),
                      " unrouted = \"allow\" silences this."));
    }
  };
}

void UnroutedGuard::before_write(const std::string& parameter, const std::string& operator_name) {
  announce_late_write(str(operator_name, " wrote to parameter '", parameter, "' of ", core_.label));
  if (!core_.scaler) {
    return;
  }
  for (const NamedTensor& named : watched_->parameters()) {
    FABRIC_CHECK(Routing, named.name != parameter || !core_.scaler->holds_scaled(named.tensor),
                 "[fabric.grad_scaler] ", operator_name, " writes to parameter '", parameter,
                 "' of ", core_.label, " while its gradient is scaled: a step of the optimizer ",
                 "itself would be wrong by the scale; expected the step of the handle. Hint: auto ",
                 "optimizer = fabric.setup_optimizers(…); optimizer.step(). Writes of your own ",
                 "belong before fabric.backward or after the step.");
  }
}

}  // namespace fabric::detail
