// How a model runs over processes: the interface every strategy implements.
//
// A strategy hangs what it must do on the parameters (gradient hooks), not on calls; a routed call
// only adds what belongs to a call (buffers, arming). See DDPStrategy for the distributed case.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include <accelerators/collectives/communicator.h>

namespace fabric {

/// A tensor of a model under its dotted name ("encoder.weight").
struct NamedTensor {
  std::string name;
  at::Tensor tensor;
};

/// The tensors of one model. Handles, not copies: they are the user's own tensors.
struct ModelTensors {
  std::vector<NamedTensor> parameters;
  std::vector<NamedTensor> buffers;
};

/// One model as its strategy keeps it.
class ManagedModel {
 public:
  virtual ~ManagedModel() = default;

  /// Runs before each outermost routed call.
  /// @param training whether the model is in training mode
  /// @param sync false for entries that take no part in synchronisation (EntryOptions::sync)
  virtual void before_call(bool /*training*/, bool /*sync*/) {}

  /// Whether `before_call` does anything; a routed call skips it otherwise.
  virtual bool wants_calls() const { return false; }

  /// What a use of parameters outside a routed call misses ("the buffers of rank 0"), or nothing.
  /// @param training whether the model is in training mode
  virtual std::string missing_outside_call(bool /*training*/) const { return {}; }

  /// Turns gradient synchronisation off or on (no_backward_sync). Returns the previous setting.
  virtual bool set_sync(bool /*enabled*/) { return true; }

  /// Whether gradients of this model are synchronised over processes at all.
  virtual bool synchronises() const { return false; }
};

/// How models run over processes.
class Strategy {
 public:
  virtual ~Strategy() = default;

  /// The name it is registered under ("ddp").
  virtual std::string name() const = 0;

  /// Takes over a model whose tensors lie on their final device. Collective where the strategy is
  /// distributed.
  /// @param label what error texts call the model
  virtual std::shared_ptr<ManagedModel> manage(std::string label, ModelTensors tensors) = 0;

  /// Whether a plain `loss.backward()` would be wrong: outputs of routed calls then refuse it.
  virtual bool acts_in_backward() const { return false; }

  /// Brackets `Fabric::backward`: before the engine starts, after it returned, after it threw.
  virtual void before_backward() {}
  virtual void after_backward() {}
  virtual void abandon_backward() noexcept {}

  /// Runs before each step of a set-up optimizer.
  virtual void before_step() {}

  /// Turns gradient synchronisation of all models off or on (accumulate).
  virtual void set_sync(bool /*enabled*/) {}
};

/// A strategy on one device: every hook of the interface is empty.
class SingleDeviceStrategy final : public Strategy {
 public:
  std::string name() const override { return "single_device"; }
  std::shared_ptr<ManagedModel> manage(std::string label, ModelTensors tensors) override;
};

}  // namespace fabric
