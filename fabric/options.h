// The options of `Fabric`: what a program asks for, before anything is known of the machine.
#pragma once

#include <optional>

#include <accelerators/accelerator_choice.h>
#include <accelerators/devices.h>
#include <fabric/config/help.h>
#include <fabric/config/resolved.h>
#include <strategies/precision/grad_scaler.h>
#include <strategies/precision/matmul_precision.h>
#include <strategies/precision/precision_choice.h>
#include <strategies/strategy_choice.h>
#include <strategies/unrouted_choice.h>

namespace fabric {

/// Where and how a program runs. Every field has a default; designated initialisers make keyword
/// arguments of them, in Python Fabric's order:
///
///     fabric::Fabric fabric({.strategy = "ddp", .devices = 2, .precision = "bf16-mixed"});
///
/// Environment variables override what is written here (see connector.h), unless a parser has
/// filled it (config.h), which reads them itself.
struct FabricOptions {
  /// "auto", "cpu", "cuda", "gpu", or a registered one as std::string.
  AcceleratorChoice accelerator{};
  FABRIC_HELP(accelerator, "the kind of device; auto takes GPUs where there are any")
  /// "auto", "single_device", "ddp", DDPOptions{...}, or a registered one as std::string.
  StrategyChoice strategy{};
  FABRIC_HELP(strategy, "how models run over processes; with options as in fsdp(units=Block)")
  /// "auto", a count, -1 for all, "0, 1" or device_ids{0, 1}; for each node.
  Devices devices{};
  FABRIC_HELP(devices, "of each node, a process for each")
  /// Nodes of the job; left out: what mpirun started, or 1. More than 1 needs mpirun.
  std::optional<int> num_nodes{};
  FABRIC_HELP(num_nodes, "nodes of the job; left out: what mpirun started, or 1")
  /// "32-true", "64-true", "bf16-mixed", "16-mixed", "bf16-true" or "16-true".
  PrecisionChoice precision{};
  FABRIC_HELP(precision, "in which number formats models compute")
  /// What happens when parameters are used outside a routed call: "warn", "error" or "allow".
  UnroutedChoice unrouted{};
  FABRIC_HELP(unrouted, "what happens when parameters are used outside a routed call")
  /// How the loss is scaled under "16-mixed".
  GradScalerOptions grad_scaler{};
  FABRIC_HELP(grad_scaler, "how the loss is scaled under 16-mixed")
  /// What products of fp32 matrices may be rounded to: "keep", "highest", "high" (TF32), "medium".
  /// Of the whole process, from launch on.
  MatmulPrecisionChoice matmul_precision{};
  FABRIC_HELP(matmul_precision, "what products of fp32 matrices are rounded to; high is TF32")
  /// The configuration that the parser read this struct with; no option. Set by the parser: ranks
  /// compare it, and processes that the program starts of itself get it.
  config::Resolved resolved{};

  /// The prefix of the variables that a parser reads for it.
  static constexpr const char* kVariables = "FABRIC_";
};

}  // namespace fabric

/// Strategies know nothing of configurations.
template <>
struct fabric::config::Help<fabric::GradScalerOptions> {
  static constexpr FieldHelp fields[] = {
      {"init_scale", "what the loss is multiplied with at first; above 0"},
      {"growth_factor", "of the scale, when gradients were finite for a while; above 1"},
      {"backoff_factor", "of the scale, when gradients were not finite; between 0 and 1"},
      {"growth_interval", "for how many iterations in a row they are finite before it grows"}};
};
