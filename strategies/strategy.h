// How a model runs over processes: the interface every strategy implements.
//
// A strategy hangs what it must do on the parameters (gradient hooks), not on calls; a routed call
// only adds what belongs to a call (buffers, arming). See DDPStrategy for the distributed case.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include <accelerators/collectives/communicator.h>

namespace torch::nn {
class Module;
}
namespace torch::optim {
class Optimizer;
}

namespace fabric {

/// A tensor of a model under its dotted name ("encoder.weight").
struct NamedTensor {
  std::string name;
  at::Tensor tensor;
};

/// A submodule of a model.
struct NamedModule {
  std::string name;                           ///< dotted ("blocks.0"), empty for the model itself
  std::string class_name;                     ///< without namespace and "Impl" ("Linear")
  bool element = false;                       ///< of a ModuleList, ModuleDict or Sequential
  const torch::nn::Module* module = nullptr;  ///< null in TorchScript
};

/// The tensors of one model. Handles, not copies: they are the user's own tensors.
struct ModelTensors {
  std::vector<NamedTensor> parameters;
  std::vector<NamedTensor> buffers;
  std::vector<NamedModule> modules;  ///< parents before children
};

/// What a strategy is told of a routed call.
struct CallInfo {
  bool training = false;    ///< whether the model is in training mode
  bool sync = true;         ///< false for entries that take no part in synchronisation
  std::uint64_t entry = 0;  ///< which entry it is, the same in every run of one program
};

struct UnitShards;

/// Bytes of one model on this rank.
struct MemoryUse {
  std::int64_t parameters = 0;            ///< that are always there
  std::int64_t gradients = 0;             ///< likewise
  std::int64_t unsharded_parameters = 0;  ///< at the most so far, besides
  std::int64_t unsharded_gradients = 0;
};

/// That of a model that is whole on every rank.
MemoryUse whole_memory(const std::vector<at::Tensor>& parameters);

/// One model as its strategy keeps it.
class ManagedModel {
 public:
  virtual ~ManagedModel() = default;

  /// Runs before each outermost routed call.
  virtual void before_call(const CallInfo& /*call*/) {}

  /// Whether `before_call` does anything; a routed call skips it otherwise.
  virtual bool wants_calls() const { return false; }

  /// What a use of parameters outside a routed call misses ("the buffers of rank 0"), or nothing.
  /// @param training whether the model is in training mode
  virtual std::string missing_outside_call(bool /*training*/) const { return {}; }

  /// Turns gradient synchronisation off or on (no_backward_sync). Returns the previous setting.
  virtual bool set_sync(bool /*enabled*/) { return true; }

  /// What floating-point inputs and outputs of routed calls are converted to, if anything.
  virtual std::optional<at::ScalarType> input_dtype() const { return {}; }
  virtual std::optional<at::ScalarType> output_dtype() const { return {}; }

  /// Makes the whole parameters readable and writable by any means until `release_full`, which
  /// keeps what was written. May be nested. Collective where parameters are sharded.
  virtual void hold_full() {}
  virtual void release_full() {}

  /// Where this rank keeps the values, if not in the parameters themselves: tensors that hold its
  /// parts of them, as precise as an optimizer sees them. Gathers nothing.
  /// @throws RoutingError while `hold_full` keeps the values elsewhere
  virtual std::optional<std::vector<NamedTensor>> own_parts() { return {}; }
  /// How they are cut, for each of `own_parts`; none where parameters lie whole in memory, as all
  /// do while `hold_full` keeps them so.
  virtual std::vector<std::shared_ptr<const UnitShards>> unit_shards() { return {}; }
  /// Those were written, and not by an optimizer: what was gathered from them is let go, and a
  /// backward through what they were before throws.
  virtual void own_parts_changed() {}
  /// This rank's part of each parameter's gradient under the parameter's name, if gradients do not
  /// lie whole in `.grad`: undefined where there is none, without elements where all of it lies on
  /// other ranks.
  virtual std::optional<std::vector<NamedTensor>> own_gradients() { return {}; }

  /// What the model takes, where it does not lie whole on every rank.
  virtual std::optional<MemoryUse> memory() const { return {}; }

  /// In which order parameters are reduced, where that follows from the backwards so far and
  /// numbers depend on it (the order in which ranks are added); empty otherwise. A run that goes on
  /// from a saved state takes it along.
  virtual std::vector<std::int64_t> reduction_order() const { return {}; }
  /// Ignores an order that is none of this model's.
  virtual void set_reduction_order(const std::vector<std::int64_t>& /*order*/) {}

  /// Whether there are gradients that no rank but this one knows, and that no step has used: in the
  /// middle of an accumulation.
  virtual bool holds_local_gradients() const { return false; }

  /// Whether gradients of this model are synchronised over processes at all.
  virtual bool synchronises() const { return false; }
};

/// A tensor in the groups of an optimizer, and what it is made of.
struct OptimizedTensor {
  at::Tensor tensor;
  std::size_t group = 0;
  /// Elements of a parameter, one behind the other in the order of its memory.
  struct Part {
    at::Tensor parameter;
    std::int64_t begin = 0;   ///< of the parameter's elements
    std::int64_t size = 0;    ///< may be 0: all of it lies on other ranks
    std::int64_t offset = 0;  ///< in the tensor
  };
  std::vector<Part> parts;  ///< one whole parameter, or what this rank has of several
};

/// How models run over processes.
class Strategy {
 public:
  virtual ~Strategy() = default;

  /// The name it is registered under ("ddp").
  virtual std::string name() const = 0;

  /// Takes over a model whose tensors lie on their final device. Collective where the strategy is
  /// distributed. Parameters may be deferred where it `materialises`.
  /// @param label what error texts call the model
  virtual std::shared_ptr<ManagedModel> manage(std::string label, ModelTensors tensors) = 0;

  /// Whether `manage` gives deferred parameters (see DeferredInit) their values itself; those of
  /// other strategies, and all buffers, have them before.
  virtual bool materialises() const { return false; }

  /// Whether a plain `loss.backward()` would be wrong: outputs of routed calls then refuse it.
  virtual bool acts_in_backward() const { return false; }

  /// Brackets `Fabric::backward`: before the engine starts, after it returned, after it threw.
  virtual void before_backward() {}
  virtual void after_backward() {}
  virtual void abandon_backward() noexcept {}

  /// Takes over an optimizer that was given to setup_optimizers, and each group added later: its
  /// groups name parameters of managed models.
  virtual void adopt(torch::optim::Optimizer& /*optimizer*/) {}

  /// Brackets each step of a set-up optimizer, and follows its zero_grad.
  virtual void before_step(torch::optim::Optimizer& /*optimizer*/) {}
  virtual void after_step(torch::optim::Optimizer& /*optimizer*/) {}
  virtual void after_zero_grad(torch::optim::Optimizer& /*optimizer*/, bool /*set_to_none*/) {}

  /// What the tensors in an optimizer's groups stand for, in their order.
  virtual std::vector<OptimizedTensor> optimized_tensors(
      const torch::optim::Optimizer& optimizer) const;
  /// Sees to it that parameters of different kinds do not share a tensor in the optimizer's groups;
  /// its state follows. Every rank gives the same kinds.
  virtual void separate(torch::optim::Optimizer& /*optimizer*/,
                        const std::function<int(const at::Tensor& parameter)>& /*kind*/) {}
  /// The parameters that an optimizer's groups were given, in that order.
  virtual std::vector<std::vector<at::Tensor>> groups_of(
      const torch::optim::Optimizer& optimizer) const;
  /// The same, of all groups.
  std::vector<at::Tensor> parameters_of(const torch::optim::Optimizer& optimizer) const;
  /// Whether an optimizer's tensor is this rank's part of something cut over ranks.
  virtual bool is_shard(const at::Tensor& /*parameter*/) const { return false; }
  /// Reduces a number that was computed from shards, in place, over the ranks that hold the other
  /// parts. Collective where there are such.
  virtual void reduce_over_shards(const at::Tensor& /*value*/, ReduceOp /*op*/) {}

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
