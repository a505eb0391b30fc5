#include <fabric/optim/fuse.h>

#include <typeinfo>

#include <ATen/ATen.h>
#include <c10/util/Type.h>

#include <accelerators/error.h>

namespace fabric {
namespace {

template <class Fused>
Fused fused(const torch::optim::Optimizer& optimizer, bool copy) {
  typename Fused::Options defaults;
  // The class is the right one, and so are its options.
  convert_options(optimizer.defaults(), defaults);
  Fused result(optimizer.param_groups(), defaults);
  for (const auto& [parameter, state] : optimizer.state()) {
    auto own = result.own_state(state.get());
    const torch::optim::OptimizerParamState& given = *state;
    FABRIC_CHECK(Misconfiguration, own != nullptr, "[fabric.fuse] state of an unknown class; got ",
                 c10::demangle(typeid(given).name()));
    if (copy) {
      own->visit_tensors(
          [](at::Tensor& tensor) { tensor = tensor.defined() ? tensor.detach().clone() : tensor; });
    }
    result.state()[parameter] = std::move(own);
  }
  return result;
}

}  // namespace

FusedAdamW fuse(const torch::optim::AdamW& optimizer) {
  return fused<FusedAdamW>(optimizer, /*copy=*/true);
}

FusedAdamW fuse(torch::optim::AdamW&& optimizer) {
  return fused<FusedAdamW>(optimizer, /*copy=*/false);
}

FusedAdam fuse(const torch::optim::Adam& optimizer) {
  return fused<FusedAdam>(optimizer, /*copy=*/true);
}

FusedAdam fuse(torch::optim::Adam&& optimizer) {
  return fused<FusedAdam>(optimizer, /*copy=*/false);
}

FusedSGD fuse(const torch::optim::SGD& optimizer) {
  return fused<FusedSGD>(optimizer, /*copy=*/true);
}

FusedSGD fuse(torch::optim::SGD&& optimizer) {
  return fused<FusedSGD>(optimizer, /*copy=*/false);
}

FusedAdagrad fuse(const torch::optim::Adagrad& optimizer) {
  return fused<FusedAdagrad>(optimizer, /*copy=*/true);
}

FusedAdagrad fuse(torch::optim::Adagrad&& optimizer) {
  return fused<FusedAdagrad>(optimizer, /*copy=*/false);
}

std::unique_ptr<FusedOptimizer> fuse(const torch::optim::Optimizer& optimizer) {
  if (const auto* adamw = dynamic_cast<const torch::optim::AdamW*>(&optimizer)) {
    return std::make_unique<FusedAdamW>(fuse(*adamw));
  }
  if (const auto* adam = dynamic_cast<const torch::optim::Adam*>(&optimizer)) {
    return std::make_unique<FusedAdam>(fuse(*adam));
  }
  if (const auto* sgd = dynamic_cast<const torch::optim::SGD*>(&optimizer)) {
    return std::make_unique<FusedSGD>(fuse(*sgd));
  }
  if (const auto* adagrad = dynamic_cast<const torch::optim::Adagrad*>(&optimizer)) {
    return std::make_unique<FusedAdagrad>(fuse(*adagrad));
  }
  FABRIC_CHECK(Misconfiguration, false, "[fabric.fuse] there is no fused optimizer for this one; ",
               "got ", c10::demangle(typeid(optimizer).name()), "; expected torch::optim::AdamW, ",
               "Adam, SGD or Adagrad. Hint: the optimizer works as it is, too.");
  return nullptr;
}

}  // namespace fabric
