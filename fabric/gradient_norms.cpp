#include <fabric/gradient_norms.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include <ATen/ATen.h>

#include <accelerators/error.h>
#include <accelerators/ordinary_scope.h>
#include <fabric/clip_gradients.h>
#include <fabric/detail/model_core.h>

namespace fabric::detail {
namespace {

// The norms of tensors that may be empty or sparse, (n), of a dtype on a device.
at::Tensor norms_of(const std::vector<NamedTensor>& gradients, double norm_type,
                    at::TensorOptions options) {
  std::vector<at::Tensor> present;
  for (const NamedTensor& gradient : gradients) {
    if (gradient.tensor.numel() > 0) {
      present.push_back(gradient.tensor.is_sparse() ? gradient.tensor.coalesce().values()
                                                    : gradient.tensor);
    }
  }
  std::vector<at::Tensor> norms;
  if (!present.empty()) {
    norms = at::_foreach_norm(present, norm_type, c10::typeMetaToScalarType(options.dtype()));
  }
  std::vector<at::Tensor> all;
  auto next = norms.begin();
  for (const NamedTensor& gradient : gradients) {
    all.push_back(gradient.tensor.numel() > 0 ? (next++)->to(options.device())
                                              : at::zeros({}, options));
  }
  return at::stack(all);
}

}  // namespace

std::vector<NamedTensor> gradient_norms(Strategy& strategy, ModelCore& core,
                                        const ModelTensors& tensors, double norm_type) {
  check_norm_type("gradient_norms", norm_type);
  const OrdinaryScope ordinary;
  const auto parts = core.managed->own_gradients();
  std::vector<NamedTensor> gradients;
  std::set<const c10::TensorImpl*> seen;
  for (const NamedTensor& parameter : tensors.parameters) {
    if (!seen.insert(parameter.tensor.unsafeGetTensorImpl()).second) {
      continue;  // a shared one, listed again
    }
    NamedTensor gradient{parameter.name, parts ? at::Tensor() : parameter.tensor.grad()};
    if (parts) {
      const auto part = std::find_if(parts->begin(), parts->end(), [&](const NamedTensor& each) {
        return each.name == parameter.name;
      });
      gradient.tensor = part == parts->end() ? at::Tensor() : part->tensor;
    }
    if (gradient.tensor.defined()) {
      gradients.push_back(std::move(gradient));
    }
  }
  if (gradients.empty()) {
    return {};
  }
  const bool precise = std::any_of(
      gradients.begin(), gradients.end(),
      [](const NamedTensor& gradient) { return gradient.tensor.scalar_type() == at::kDouble; });
  at::Tensor norms =
      norms_of(gradients, norm_type,
               at::TensorOptions().dtype(precise ? at::kDouble : at::kFloat).device(core.device));
  if (parts && std::isinf(norm_type)) {
    norms = largest_over_shards(strategy, norms);
  } else if (parts) {
    norms = norms.pow(norm_type);
    strategy.reduce_over_shards(norms, ReduceOp::sum);
    norms = norms.pow(1 / norm_type);
  }
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    gradients[i].tensor = norms[static_cast<std::int64_t>(i)];
  }
  return gradients;
}

}  // namespace fabric::detail
