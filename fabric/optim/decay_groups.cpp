#include <fabric/optim/decay_groups.h>

namespace fabric {

bool decays_by_dimension(const std::string& /*name*/, const at::Tensor& parameter) {
  return parameter.dim() >= 2;
}

namespace detail {

std::pair<std::vector<at::Tensor>, std::vector<at::Tensor>> split_by(
    const DecayMask& decays, const std::vector<NamedTensor>& parameters) {
  std::pair<std::vector<at::Tensor>, std::vector<at::Tensor>> parts;
  for (const NamedTensor& parameter : parameters) {
    (decays(parameter.name, parameter.tensor) ? parts.first : parts.second)
        .push_back(parameter.tensor);
  }
  return parts;
}

}  // namespace detail
}  // namespace fabric
