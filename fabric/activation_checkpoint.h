// Activation checkpointing: runs a part of a model without keeping what its backward needs, and
// runs it again in backward. Memory for time.
//
//     x = fabric::checkpoint(block, x);                             // a module: its forward
//     x = fabric::checkpoint([this, x] { return head(norm(x)); });  // any function
//     x = fabric::checkpoint({.check = false}, encoder, x, mask);   // with CheckpointOptions
//
// Everything else is as without `checkpoint`, under every strategy: values bit by bit, gradients
// but for the order in which uses are added up, hooks, random numbers, what requires grad.
#pragma once

#include <type_traits>
#include <utility>

#include <fabric/checkpoint_options.h>
#include <fabric/detail/checkpointed_function.h>

namespace fabric {

/// Runs `function(args...)` and returns its result. Between the calls and backward only the
/// arguments are kept; backward runs the function again to have the rest.
///
///     auto [mean, variance] = fabric::checkpoint(encoder, x, mask);
///
/// `function` is a module in any form (holder, `std::shared_ptr`, pointer, reference, AnyModule,
/// Sequential, FabricModule, torch::jit::Module: its forward) or anything that can be called.
/// A module can be left out at setup (`SetupOptions::checkpoint`); other functions always run
/// again.
///
/// Arguments and the function are copied, and the copies are used in backward: both must be
/// copyable, tensors and modules are shared. Lambdas should capture by value (and be `mutable`
/// where they capture a module holder, which is const otherwise). What they capture receives its
/// gradients as arguments do, but only arguments and parameters are watched for changes in place.
/// The result is a tensor or any structure of tensors that `map_tensors` reaches; integers among
/// them come back without gradients.
///
/// The second run sees the state of the first: random numbers, autocast, default dtype, routed
/// calls. Buffers that a module changes in training (running statistics) are put back after it;
/// other effects happen twice, unless the function asks `fabric::recomputing()`.
///
/// Gradients of what the function used arrive together, when its backward is through: checkpoint
/// blocks rather than whole models where a strategy should reduce meanwhile.
///
/// Without gradients to come (NoGradGuard, inference mode, nothing that requires grad) this is a
/// plain call. `torch::autograd::grad`, `backward(inputs = …)` and `retain_graph` give what they
/// give without it; `create_graph` throws RoutingError in backward.
/// @throws MisconfigurationError when the function changes an argument in place; in backward when
///         arguments or parameters were changed since, or the second run differs (see
///         CheckpointOptions::check); and what the function throws
template <class Function, class... Args>
auto checkpoint(CheckpointOptions options, Function&& function, Args&&... args) {
  return detail::run_checkpointed(options,
                                  detail::checkpointed_function(std::forward<Function>(function)),
                                  std::forward<Args>(args)...);
}
template <class Function, class... Args>
  requires(!std::is_same_v<std::remove_cvref_t<Function>, CheckpointOptions>)
auto checkpoint(Function&& function, Args&&... args) {
  return checkpoint(CheckpointOptions{}, std::forward<Function>(function),
                    std::forward<Args>(args)...);
}

/// Whether this thread is inside the second run of a checkpointed function, in backward.
///
///     if (!fabric::recomputing()) ++calls;
bool recomputing() noexcept;

}  // namespace fabric
