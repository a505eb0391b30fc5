#include <strategies/strategy.h>

#include <torch/optim/optimizer.h>

namespace fabric {

MemoryUse whole_memory(const std::vector<at::Tensor>& parameters) {
  MemoryUse use;
  for (const at::Tensor& parameter : parameters) {
    use.parameters += static_cast<std::int64_t>(parameter.nbytes());
    if (parameter.grad().defined()) {
      use.gradients += static_cast<std::int64_t>(parameter.grad().nbytes());
    }
  }
  return use;
}

std::vector<at::Tensor> Strategy::parameters_of(const torch::optim::Optimizer& optimizer) const {
  std::vector<at::Tensor> parameters;
  for (const auto& group : optimizer.param_groups()) {
    parameters.insert(parameters.end(), group.params().begin(), group.params().end());
  }
  return parameters;
}

std::shared_ptr<ManagedModel> SingleDeviceStrategy::manage(std::string /*label*/,
                                                           ModelTensors /*tensors*/) {
  return std::make_shared<ManagedModel>();
}

}  // namespace fabric
