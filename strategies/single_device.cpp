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

std::vector<std::vector<at::Tensor>> Strategy::groups_of(
    const torch::optim::Optimizer& optimizer) const {
  std::vector<std::vector<at::Tensor>> groups;
  for (const auto& group : optimizer.param_groups()) {
    groups.push_back(group.params());
  }
  return groups;
}

std::vector<at::Tensor> Strategy::parameters_of(const torch::optim::Optimizer& optimizer) const {
  std::vector<at::Tensor> parameters;
  for (const std::vector<at::Tensor>& group : groups_of(optimizer)) {
    parameters.insert(parameters.end(), group.begin(), group.end());
  }
  return parameters;
}

std::vector<OptimizedTensor> Strategy::optimized_tensors(
    const torch::optim::Optimizer& optimizer) const {
  std::vector<OptimizedTensor> tensors;
  for (std::size_t g = 0; g < optimizer.param_groups().size(); ++g) {
    for (const at::Tensor& tensor : optimizer.param_groups()[g].params()) {
      tensors.push_back({tensor, g, {{.parameter = tensor, .size = tensor.numel()}}});
    }
  }
  return tensors;
}

std::shared_ptr<ManagedModel> SingleDeviceStrategy::manage(std::string /*label*/,
                                                           ModelTensors /*tensors*/) {
  return std::make_shared<ManagedModel>();
}

}  // namespace fabric
