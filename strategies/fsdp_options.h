// The options of sharded training.
#pragma once

#include <strategies/dtype_choice.h>
#include <strategies/fsdp_choices.h>
#include <strategies/unit_choice.h>

namespace fabric {

/// Sharded data-parallel training: every process holds an equal part of parameters, gradients and
/// optimizer state; the parameters of a unit are gathered while they are used.
///
///     fabric::Fabric fabric({.strategy = fabric::FSDPOptions{.units = {"Block"}}});
///     fabric::Fabric fabric({.strategy = fabric::FSDPOptions{.sharding = "hybrid",
///                                                            .param_dtype = "bfloat16"}});
struct FSDPOptions {
  /// What is cut over the ranks.
  ShardingChoice sharding{};
  /// Into how many groups of consecutive ranks the world is divided. Each holds the whole model,
  /// cut over its ranks; gradients are averaged over all. 0: one for each node under "hybrid", one
  /// for each rank under "none", else one. Must divide the world.
  int replicas = 0;
  /// Which parameters are gathered and freed together.
  UnitChoice units{};
  /// How many units are gathered ahead of their use (≥ 0), where collectives run beside
  /// computation. Memory for unsharded parameters is bounded by the two largest units all the same.
  int prefetch = 1;
  /// Where gradients add up while synchronisation is off.
  AccumulationChoice accumulation{};
  /// What floating-point parameters are gathered and computed in, and inputs of routed calls are
  /// converted to. The shards, on which optimizers work, keep the model's dtype. From setup on
  /// `weight.dtype()` is this one; inside `full_parameters` it is the model's.
  DtypeChoice param_dtype{};
  /// What gradients are collected and averaged in; "keep": the dtype of the gathered parameters.
  /// `weight.grad()` shows this one; optimizers see the model's.
  DtypeChoice reduce_dtype{};
  /// What floating-point buffers are converted to at setup.
  DtypeChoice buffer_dtype{};
  /// What floating-point outputs of routed calls are converted to.
  DtypeChoice output_dtype{};
  /// Keeps shards, and with them gradients and optimizer state, in the memory of the host, where
  /// optimizers then work. Changes nothing on the CPU.
  bool cpu_offload = false;
  /// Whether rank 0's buffers (running statistics and the like) are sent to all ranks before each
  /// routed call in training with gradients.
  bool broadcast_buffers = true;

  friend constexpr bool operator==(const FSDPOptions&, const FSDPOptions&) = default;
};

}  // namespace fabric
