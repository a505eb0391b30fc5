// A net that is sharded beside the same net on one process.
#pragma once

#include <torch/torch.h>

#include <fabric/fabric.h>
#include <strategies/fsdp.h>

#include <tests/support/training.h>

namespace support {

inline constexpr double kExact = 1e-12;  // fp64

/// This rank's rows.
inline torch::Tensor own(const torch::Tensor& whole) {
  return part(whole, fabric::world().rank, fabric::world().size);
}

/// Rows for all ranks, the same on each.
inline torch::Tensor rows(std::vector<int64_t> shape, int64_t seed = 7) {
  torch::manual_seed(seed);
  shape.insert(shape.begin(), 4L * fabric::world().size);
  return torch::randn(shape, torch::kDouble);
}

template <class Net>
Net double_net(int64_t seed = 1) {
  return with_seed(seed, [] {
    Net net;
    net->to(torch::kDouble);
    return net;
  });
}

/// Each Linear is a unit.
inline const fabric::FSDPOptions kLinearUnits{.units = {"Linear"}};

/// A net that is sharded and the same on one process, each with its optimizer.
template <class Net, class Optimizer = torch::optim::SGD, class Reference = Optimizer>
struct Twin {
  template <class Options>
  explicit Twin(const Options& options, fabric::FSDPOptions strategy = kLinearUnits,
                Net make(int64_t) = double_net<Net>)
      : Twin(options, options, strategy, make) {}
  /// With optimizers of two classes, each with its options.
  template <class Options, class ReferenceOptions>
    requires(!std::is_convertible_v<ReferenceOptions, fabric::FSDPOptions>)
  Twin(const Options& options, const ReferenceOptions& reference_options,
       fabric::FSDPOptions strategy = kLinearUnits, Net make(int64_t) = double_net<Net>)
      : fabric({.strategy = strategy}),
        reference(make(1)),
        net(make(1)),
        reference_optimizer(reference->parameters(), reference_options) {
    fabric.launch();
    model = fabric.setup(net);
    optimizer = fabric.setup_optimizers(Optimizer(net->parameters(), options));
  }
  /// A step of each: `plain` runs backward on the reference, `sharded` on the net.
  template <class Plain, class Sharded>
  void step(Plain plain, Sharded sharded) {
    reference_optimizer.zero_grad();
    plain();
    reference_optimizer.step();
    optimizer.zero_grad();
    sharded();
    optimizer.step();
  }
  /// The same with the mean square of the outputs as the loss.
  void step(const torch::Tensor& x) {
    step([&] { reference->forward(x).square().mean().backward(); },
         [&] { fabric.backward(model->forward(own(x)).square().mean()); });
  }
  /// How far the net is from the one on one process.
  double error() { return distance(net->parameters(), reference->parameters()); }
  const fabric::ShardedModel& engine() const { return *fabric::sharded_model_of(model.managed()); }

  fabric::Fabric fabric;
  Net reference, net;
  Reference reference_optimizer;
  fabric::FabricModule<typename Net::ContainedType> model;
  fabric::FabricOptimizer optimizer;
};

}  // namespace support
