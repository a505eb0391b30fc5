// How modules are built by Fabric::init_module, and what setup does for those without values.
#pragma once

#include <optional>
#include <string>

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <strategies/deferred_init.h>
#include <strategies/strategy.h>

namespace fabric {

struct InitOptions {
  /// Neither memory nor values for the module until its setup, see Fabric::init_module.
  bool empty_init = false;
};

namespace detail {

/// Holds the default dtype while a module is built, and defers its values for `empty_init`.
class InitScope {
 public:
  InitScope(std::optional<at::ScalarType> dtype, InitOptions options);
  ~InitScope();
  InitScope(const InitScope&) = delete;
  InitScope& operator=(const InitScope&) = delete;

 private:
  at::ScalarType before_;
  std::optional<DeferredInit> deferred_;
};

/// Ends a build with `empty_init`: what is done to the tensors from now on counts too.
void keep_recording_model(const ModelTensors& tensors);

/// @throws MisconfigurationError for a tensor on meta that no init_module has made
void check_values_known(const std::string& label, const ModelTensors& tensors);

/// Gives the deferred tensors of a model their values on `device`, but for the parameters of a
/// strategy that materialises those itself.
/// @returns whether such parameters are left: the model cannot be moved as one then
bool materialise_model(const ModelTensors& tensors, const Strategy& strategy, c10::Device device);

/// Moves the tensors that have values.
void move_present(const ModelTensors& tensors, c10::Device device);

}  // namespace detail
}  // namespace fabric
