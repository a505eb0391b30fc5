// Hears of every use of a parameter, whatever code makes it.
//
// Watched parameters carry a dispatch key that LibTorch leaves to out-of-tree code. One boxed
// fallback then sees each operator that takes one of them (or a view of one) before autograd and
// autocast do: listeners are asked about uses in forward, keepers make the memory of sharded
// parameters valid, in backward too. A build without memory (deferred_init.h) has the key on for
// all operators of its thread. This file and its source are the only ones that know which key it
// is.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/DispatchKey.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <accelerators/ordinary_scope.h>
#include <strategies/flat/storage_map.h>
#include <strategies/strategy.h>

namespace fabric {

/// The key: nothing in LibTorch uses it.
inline constexpr c10::DispatchKey kParameterKey = c10::DispatchKey::DeferredInit;

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

  const std::vector<NamedTensor>& parameters() const { return parameters_; }

 private:
  void watch();
  void forget();

  std::vector<NamedTensor> parameters_;
  std::weak_ptr<UseListener> listener_;
  std::vector<const c10::StorageImpl*> storages_;
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

/// How uses on this thread are accounted for. A function that backward runs again takes it along,
/// so that its uses count there as they did the first time.
class UseAccounting {
 public:
  static UseAccounting now() noexcept;

  class Scope;

 private:
  int scopes_ = 0;
  bool excluded_ = false;
};

class UseAccounting::Scope {
 public:
  explicit Scope(const UseAccounting& first) noexcept;
  ~Scope();
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  UseAccounting before_;
  bool again_before_;
};

/// One operator that takes parameters, for kernels of the key that see it instead of the fallback:
/// make it before the operator runs, give it the result, and let it live until the operator ends.
class ParameterUse {
 public:
  /// @throws what a listener or a keeper throws
  ParameterUse(const std::string& operator_name, const std::vector<at::Tensor>& arguments);
  ~ParameterUse();
  ParameterUse(const ParameterUse&) = delete;
  ParameterUse& operator=(const ParameterUse&) = delete;
  void returned(const at::Tensor& result) const;

 private:
  friend class OperatorUse;
  struct Kept {
    std::shared_ptr<StorageKeeper> keeper;
    std::size_t number;
    bool acquired = false;
  };
  ParameterUse() = default;
  void look_at(const std::string& operator_name, const at::Tensor& tensor, bool ask);
  void acquire();

  std::vector<std::function<void()>> flows_;
  std::vector<Kept> kept_;
  std::vector<std::pair<at::Tensor, c10::Storage>> parked_;
};

/// While one lives, what this thread does to parameters is the engine's own business: nobody hears
/// of it, no graph records it, and what it makes are ordinary tensors in any mode of the caller.
struct EngineScope {
  OrdinaryScope ordinary;
  c10::impl::ExcludeDispatchKeyGuard below{kParameterKey};
};

/// Tells those who ask to hear of writes to `parameter`, as an operator would, of one that goes
/// past the dispatcher.
/// @param writer what texts call it
/// @throws what a listener or a keeper throws
void announce_write(const at::Tensor& parameter, const std::string& writer);

/// Registers the key's fallback. Made by the first use and not by a static registrar, which linkers
/// drop from static libraries.
void register_parameter_key();

/// From now on kernels of the key must run inside routed calls too: RoutedScope keeps it on.
void need_parameter_key_in_calls();

/// Gives a tensor the key, in place.
void add_parameter_key(const at::Tensor& tensor);

/// A tensor with the key, for `Tensor::set_data`.
at::Tensor with_parameter_key(const c10::Storage& storage, const at::Tensor& like,
                              std::int64_t storage_offset);

}  // namespace fabric
