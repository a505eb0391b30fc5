// Hears of every use of a parameter, whatever code makes it.
//
// Watched parameters carry a dispatch key that LibTorch leaves to out-of-tree code. One boxed
// fallback then sees each operator that takes one of them (or a view of one) before autograd and
// autocast do. This file and its source are the only ones that know the key.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/DispatchKey.h>

#include <strategies/strategy.h>

namespace fabric {

/// The key: nothing in LibTorch uses it.
inline constexpr c10::DispatchKey kParameterKey = c10::DispatchKey::DeferredInit;

/// Is asked about uses of a model's parameters.
class UseListener {
 public:
  virtual ~UseListener() = default;

  /// Comes before an operator runs with a parameter among its arguments, where a gradient may flow
  /// back to it: with gradients on, outside backward and outside a RoutedScope. What it throws
  /// reaches the caller of the operator, which then does not run.
  /// @param parameter its dotted name
  /// @param operator_name "aten::linear"
  /// @returns what to do when a gradient does flow back through the operator's result, or nothing.
  ///          It may be called several times, on autograd's threads.
  virtual std::function<void()> before_use(const std::string& parameter,
                                           const std::string& operator_name) = 0;
};

/// Watches the parameters of one model while it lives. Their identity, values and autograd state
/// stay as they are.
class WatchedParameters {
 public:
  WatchedParameters(std::vector<NamedTensor> parameters, std::weak_ptr<UseListener> listener);
  ~WatchedParameters();
  WatchedParameters(const WatchedParameters&) = delete;
  WatchedParameters& operator=(const WatchedParameters&) = delete;

  /// Watches again what `Module::to` replaced. Costs one comparison when nothing was.
  void refresh();

 private:
  void watch();

  std::vector<NamedTensor> parameters_;
  std::weak_ptr<UseListener> listener_;
  std::vector<const void*> storages_;
};

/// While one lives, uses on this thread (and on the threads of a backward started here) are
/// accounted for: routed calls, `Fabric::backward`, steps of set-up optimizers. Operators then pay
/// nothing for the key.
class RoutedScope {
 public:
  RoutedScope() noexcept;
  ~RoutedScope();
  RoutedScope(const RoutedScope&) = delete;
  RoutedScope& operator=(const RoutedScope&) = delete;

 private:
  bool excluded_;
};

/// One use, for kernels of the key that see an operator instead of the fallback: make it before the
/// operator runs, give it the result.
class ParameterUse {
 public:
  /// @throws what a listener throws
  ParameterUse(const std::string& operator_name, const std::vector<at::Tensor>& arguments);
  void returned(const at::Tensor& result) const;

 private:
  std::vector<std::function<void()>> flows_;
};

/// Registers the key's fallback. Made by the first use and not by a static registrar, which linkers
/// drop from static libraries.
void register_parameter_key();

/// From now on kernels of the key must run inside routed calls too: RoutedScope keeps it on.
void need_parameter_key_in_calls();

/// Gives a tensor the key, in place.
void add_parameter_key(const at::Tensor& tensor);

}  // namespace fabric
