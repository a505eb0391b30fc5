// The weights of a checkpoint, into a module whose parameters and buffers have the names of its keys.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>

#include <torch/torch.h>

#include <fabric/checkpoint/format/safetensors.h>

/// @throws where the file lacks one of the module's tensors, or has one that the module lacks
inline void load_weights(const std::string& path, torch::nn::Module& module) {
  const torch::NoGradGuard no_grad;
  const fabric::StateValue file = fabric::detail::read_safetensors(
      std::make_shared<fabric::detail::InputFile>(path, /*memory_map=*/true));
  std::size_t count = 0;
  const auto copy = [&](const auto& named) {
    for (const auto& item : named) {
      item.value().copy_(file[item.key()].tensor());
      ++count;
    }
  };
  copy(module.named_parameters());
  copy(module.named_buffers());
  if (count != file.dict().size()) {
    throw std::runtime_error(path + " has tensors that the model does not have");
  }
}
