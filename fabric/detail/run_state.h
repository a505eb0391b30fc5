// What the result of a function depends on besides its arguments: random numbers, autocast, default
// dtype, routed calls, buffers. Recorded when it runs first, put in place when it runs again.
#pragma once

#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/DeviceType.h>

#include <fabric/detail/model_core.h>
#include <strategies/flat/parameter_use.h>

namespace torch::nn {
class Module;
}

namespace fabric::detail {

/// The states of the default generators: the CPU's and, where CUDA is in use, the current device's.
class RandomState {
 public:
  static RandomState now();
  void restore() const;
  /// A number for this state.
  std::size_t fingerprint() const;

 private:
  std::vector<std::pair<at::Generator, at::Tensor>> states_;
};

/// Autocast on CPU and CUDA, and the default dtype.
class NumberFormats {
 public:
  static NumberFormats now();

  class Scope;

 private:
  void set() const;

  struct Autocast {
    bool enabled = false;
    at::ScalarType dtype{};
  };
  static constexpr c10::DeviceType kDevices[] = {c10::kCPU, c10::kCUDA};

  Autocast autocast_[2];
  bool cache_ = true;
  at::ScalarType default_dtype_{};
};

class NumberFormats::Scope {
 public:
  explicit Scope(const NumberFormats& formats) : before_(now()) { formats.set(); }
  ~Scope() { before_.set(); }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  const NumberFormats before_;
};

/// Keeps autocast's casts of parameters made inside apart from those made outside: the graph of a
/// function that lets go of it must not hang on others, nor others on it.
class AutocastCacheScope {
 public:
  AutocastCacheScope();
  ~AutocastCacheScope();
  AutocastCacheScope(const AutocastCacheScope&) = delete;
  AutocastCacheScope& operator=(const AutocastCacheScope&) = delete;
};

/// The state of a first run.
class RunState {
 public:
  /// To be made before the run.
  /// @param random whether random numbers are looked at
  explicit RunState(bool random);
  /// To be called after it: what was not needed is not kept.
  void end();

  class Scope;

 private:
  NumberFormats formats_;
  UseAccounting uses_;
  OpenCalls calls_;
  bool random_;
  std::optional<RandomState> before_;  // null where the function draws nothing
  std::size_t after_ = 0;
};

/// Puts the state in place while a function runs again.
class RunState::Scope {
 public:
  /// @param module whose buffers are put back, or null
  Scope(const RunState& first, const torch::nn::Module* module);
  ~Scope();
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

  /// Whether as many random numbers were drawn as the first time; to be asked after the run.
  bool drew_the_same() const;

 private:
  const RunState& first_;
  NumberFormats::Scope formats_;
  UseAccounting::Scope uses_;
  OpenCalls::Scope calls_;
  at::AutoGradMode gradients_{true};
  AutocastCacheScope casts_;
  std::optional<RandomState> random_before_;
  std::vector<std::pair<at::Tensor, at::Tensor>> buffers_;  // and what they held
};

}  // namespace fabric::detail
