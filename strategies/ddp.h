// Data-parallel training: whole models on every process, gradients averaged while backward runs.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <c10/core/Device.h>

#include <strategies/ddp_options.h>
#include <strategies/flat/gradient_sync.h>
#include <strategies/strategy.h>

namespace fabric {

class GradientSync;

class DDPStrategy final : public Strategy {
 public:
  /// @throws MisconfigurationError for bucket_mb ≤ 0
  DDPStrategy(DDPOptions options, c10::Device device);

  std::string name() const override { return "ddp"; }

  /// Checks that all ranks hold the same model, sends rank 0's weights and buffers to all, and
  /// hooks the gradients.
  /// @throws CommunicationError naming the first tensor on which ranks disagree
  std::shared_ptr<ManagedModel> manage(std::string label, ModelTensors tensors) override;

  void before_backward() override;
  void after_backward() override;
  void abandon_backward() noexcept override;
  void before_step(torch::optim::Optimizer& optimizer) override;
  void set_sync(bool enabled) override;

 private:
  class Model;
  friend const GradientSync* gradient_sync_of(const ManagedModel& model);
  template <class Visit>
  void for_each_model(Visit&& visit);

  DDPOptions options_;
  c10::Device device_;
  std::vector<std::weak_ptr<Model>> models_;  // in order of setup, the same on all ranks
};

/// The synchronisation of a model managed by DDP with more than one process, null otherwise. For
/// tests and diagnostics.
const GradientSync* gradient_sync_of(const ManagedModel& model);

}  // namespace fabric
