// EMA: an exponential moving average of a set-up model's weights, kept where the weights are.
//
//     fabric::EMA ema(model, {.decay = 0.999});
//     for (auto& batch : *loader) {
//       …
//       optimizer.step();
//       ema.update();
//     }
//     {
//       auto averaged = ema.swapped();  // the model has the averaged weights in this scope
//       evaluate(model);
//     }
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

#include <fabric/module.h>

namespace torch::serialize {
class InputArchive;
class OutputArchive;
}  // namespace torch::serialize

namespace fabric {

class StateDict;
namespace detail {
struct SaveScope;
class LoadScope;
}  // namespace detail

/// How an EMA averages.
struct EMAOptions {
  double decay = 0.999;  ///< of the average, in an update: 0 (the weights) up to 1 (frozen)
  bool warmup = false;   ///< in the n-th update at most (1 + n) / (10 + n): early weights fade soon
  std::int64_t every = 1;  ///< only each such call of `update` is one
  /// Whether floating-point buffers (statistics of BatchNorm) are averaged too. All others, and
  /// without this all of them, are the model's own also with averaged weights.
  bool buffers = false;
};

/// Gives a model its own weights back when it ends (see EMA::swapped).
class [[nodiscard(
    "the model has the averaged weights only while this lives: auto averaged = "
    "…")]] AveragedWeights {
 public:
  explicit AveragedWeights(std::function<void()> end) : end_(std::move(end)) {}
  ~AveragedWeights() { end_(); }
  AveragedWeights(const AveragedWeights&) = delete;
  AveragedWeights& operator=(const AveragedWeights&) = delete;

 private:
  std::function<void()> end_;
};

/// average ← decay · average + (1 − decay) · weights. Begins with the weights that the model has
/// when it is made, in their dtype and at least fp32: under mixed precisions of the fp32 weights.
/// Frozen parameters stay what they are. A small copyable handle.
///
/// Under fsdp each rank averages its own shards: nothing is gathered or sent, and the average takes
/// what a shard takes. Under the other strategies every rank has the same average.
class EMA {
 public:
  /// Empty; using it throws NotLaunchedError.
  EMA() = default;
  /// @throws NotLaunchedError for an empty handle, MisconfigurationError for options that cannot
  /// work
  template <class M>
  explicit EMA(const FabricModule<M>& model, EMAOptions options = {})
      : EMA(model.core(), detail::view_of(model.module()).tensors(), options) {}
  template <class Model>
    requires(std::is_base_of_v<torch::nn::Module, std::remove_cvref_t<Model>> ||
             detail::ModuleHolder<std::remove_cvref_t<Model>>)
  explicit EMA(Model&&, EMAOptions = {}) {
    static_assert(detail::is_fabric_module<std::remove_cvref_t<Model>>,
                  "fabric::EMA averages a model that has been set up: pass the FabricModule that "
                  "fabric.setup returned.");
  }

  /// Takes the weights into the average: after `optimizer.step()`. Sends nothing.
  /// @throws RoutingError while `swapped` or full_parameters is open
  void update();
  /// How many updates there were.
  std::int64_t updates() const;

  /// While the result lives, the model has the averaged weights: to evaluate, to save. Its own come
  /// back at the end, bit by bit, also when an exception ends the scope; what the scope wrote into
  /// weights is lost. A backward through calls from before throws, as after a step. Every rank does
  /// it; nothing is sent until the weights are used.
  ///
  ///     auto averaged = ema.swapped();
  ///     auto whole = fabric.full_parameters(model);
  ///     if (fabric.is_global_zero()) torch::save(net, "averaged.pt");
  /// @throws RoutingError while another is open
  AveragedWeights swapped();

  /// Copies the averaged weights, in the model's dtype, and the buffers into another module of the
  /// same class, which is not set up, by the names of its tensors. Collective under fsdp.
  /// @throws MisconfigurationError naming the first tensor that is missing or has another shape
  template <class Module>
  void copy_to(Module&& module) {
    copy(detail::view_of(*detail::shared_module(std::forward<Module>(module))).tensors(), true);
  }
  /// The same in the other direction: the average becomes what `module` has. Together they carry an
  /// average from one strategy or world to another.
  template <class Module>
  void copy_from(Module&& module) {
    copy(detail::view_of(*detail::shared_module(std::forward<Module>(module))).tensors(), false);
  }

  /// As parts of a fabric::State: the averages whole, under the names of the model's tensors, for
  /// any strategy and world.
  StateDict save_state(detail::SaveScope& scope) const;
  void load_state(const StateDict& from, detail::LoadScope& scope);
  /// Saves or loads what this rank keeps: under fsdp its shards, for the same world and units.
  /// `torch::save(ema, path)` and `torch::load` use these.
  void save(torch::serialize::OutputArchive& archive) const;
  /// @throws CheckpointError where names or sizes differ
  void load(torch::serialize::InputArchive& archive);

  explicit operator bool() const { return shared_ != nullptr; }

 private:
  struct Shared;
  EMA(detail::ModelCore& core, ModelTensors tensors, EMAOptions options);
  Shared& shared() const;
  void copy(const ModelTensors& other, bool to_other);

  std::shared_ptr<Shared> shared_;
};

torch::serialize::OutputArchive& operator<<(torch::serialize::OutputArchive& archive,
                                            const EMA& ema);
torch::serialize::InputArchive& operator>>(torch::serialize::InputArchive& archive, EMA& ema);

}  // namespace fabric
