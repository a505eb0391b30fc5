#include <strategies/strategy.h>

namespace fabric {

std::shared_ptr<ManagedModel> SingleDeviceStrategy::manage(std::string /*label*/,
                                                           ModelTensors /*tensors*/) {
  return std::make_shared<ManagedModel>();
}

}  // namespace fabric
