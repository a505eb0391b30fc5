// Sharded data-parallel training: parameters, gradients and optimizer state cut over ranks.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include <c10/core/Device.h>
#include <c10/core/TensorImpl.h>

#include <strategies/flat/sharded_model.h>
#include <strategies/fsdp_options.h>
#include <strategies/strategy.h>

namespace fabric {

class FSDPStrategy final : public Strategy {
 public:
  /// @throws MisconfigurationError for options that cannot work
  FSDPStrategy(FSDPOptions options, c10::Device device);

  std::string name() const override { return "fsdp"; }
  bool materialises() const override { return true; }

  /// Checks that all ranks hold the same model, cuts it into units and shards them with rank 0's
  /// values. Deferred parameters get theirs unit by unit: the whole model is never in memory.
  /// @throws CommunicationError naming the first tensor on which ranks disagree
  std::shared_ptr<ManagedModel> manage(std::string label, ModelTensors tensors) override;

  void adopt(torch::optim::Optimizer& optimizer) override;
  void before_backward() override;
  void after_backward() override;
  void abandon_backward() noexcept override;
  void before_step(torch::optim::Optimizer& optimizer) override;
  void after_step(torch::optim::Optimizer& optimizer) override;
  void after_zero_grad(torch::optim::Optimizer& optimizer, bool set_to_none) override;
  std::vector<std::vector<at::Tensor>> groups_of(
      const torch::optim::Optimizer& optimizer) const override;
  std::vector<OptimizedTensor> optimized_tensors(
      const torch::optim::Optimizer& optimizer) const override;
  void separate(torch::optim::Optimizer& optimizer,
                const std::function<int(const at::Tensor&)>& kind) override;
  bool is_shard(const at::Tensor& parameter) const override;
  void reduce_over_shards(const at::Tensor& value, ReduceOp op) override;
  void set_sync(bool enabled) override;

 private:
  class Model;
  friend const ShardedModel* sharded_model_of(const ManagedModel& model);
  template <class Visit>
  void for_each_model(Visit&& visit);
  bool is_segment(const at::Tensor& tensor) const;

  // The parameters of each group as the user gave them; does not keep them alive.
  using GivenGroups = std::vector<std::vector<c10::weak_intrusive_ptr<c10::TensorImpl>>>;

  FSDPOptions options_;
  int replicas_;
  c10::Device device_;
  std::vector<std::weak_ptr<Model>> models_;  // in order of setup, the same on all ranks
  std::unordered_map<const torch::optim::Optimizer*, GivenGroups> given_;
};

/// The engine of a model managed by fsdp, null otherwise. For tests and diagnostics.
const ShardedModel* sharded_model_of(const ManagedModel& model);

}  // namespace fabric
