// From LibTorch's optimizers to the fused ones.
#pragma once

#include <memory>

#include <torch/optim/adagrad.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/sgd.h>

#include <fabric/optim/fused_adagrad.h>
#include <fabric/optim/fused_adam.h>
#include <fabric/optim/fused_sgd.h>

namespace fabric {

/// The fused optimizer in the place of one of LibTorch's: the same groups, options and state. State
/// of a variable is copied, that of a temporary taken over.
///
///     torch::optim::AdamW adamw(net->parameters(), 1e-3);
///     …
///     auto optimizer = fabric.setup_optimizers(fabric::fuse(std::move(adamw)));
FusedAdamW fuse(const torch::optim::AdamW& optimizer);
FusedAdamW fuse(torch::optim::AdamW&& optimizer);
FusedAdam fuse(const torch::optim::Adam& optimizer);
FusedAdam fuse(torch::optim::Adam&& optimizer);
FusedSGD fuse(const torch::optim::SGD& optimizer);
FusedSGD fuse(torch::optim::SGD&& optimizer);
FusedAdagrad fuse(const torch::optim::Adagrad& optimizer);
FusedAdagrad fuse(torch::optim::Adagrad&& optimizer);

/// The same where the class is not known; state is copied.
/// @throws MisconfigurationError for others than AdamW, Adam, SGD and Adagrad
std::unique_ptr<FusedOptimizer> fuse(const torch::optim::Optimizer& optimizer);

}  // namespace fabric
