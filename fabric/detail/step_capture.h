// The part of a captured step that does not depend on types: inputs, warm-up, recording, replay.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <accelerators/device_graph.h>

namespace torch::optim {
class Optimizer;
}

namespace fabric::detail {

/// Marks that this thread runs a step that is, or will be, captured.
class CaptureScope {
 public:
  /// @param kept takes the tensors that the step uses beyond what it makes
  explicit CaptureScope(std::vector<at::Tensor>& kept);
  ~CaptureScope();
  CaptureScope(const CaptureScope&) = delete;
  CaptureScope& operator=(const CaptureScope&) = delete;

  /// The innermost one of this thread, or null.
  static CaptureScope* current();

  /// An optimizer makes a step.
  /// @throws MisconfigurationError for one whose step cannot be recorded, and for closures
  void use(torch::optim::Optimizer& optimizer, bool closure);

 private:
  std::vector<at::Tensor>& kept_;
  CaptureScope* outer_;
};

/// Runs a step: without a graph each time as it is; with one, a few times to warm up, then it is
/// recorded, and from then on replayed.
class StepCapture {
 public:
  /// Runs the step on inputs and keeps its result.
  using Step = std::function<void(const std::vector<at::Tensor>& inputs)>;

  /// What a step with a graph needs.
  struct Hooks {
    std::function<std::shared_ptr<void>()> forbid_synchronisation;
    std::function<std::vector<at::Tensor>()> tensors;  ///< to be kept while the graph lives
  };

  /// @param graph null where there is none
  StepCapture(std::unique_ptr<DeviceGraph> graph, c10::Device device, Hooks hooks);

  /// One step. `step` may be kept.
  /// @throws MisconfigurationError for arguments other than those of the first call, and for a step
  ///         that cannot be recorded
  void run(const std::vector<at::Tensor>& arguments, const Step& step);

  /// Whether results are overwritten by the next step.
  bool replays() const { return recorded_; }

 private:
  struct Signature {
    std::vector<std::int64_t> sizes;
    at::ScalarType dtype;
  };

  void check_arguments(const std::vector<at::Tensor>& arguments);
  void take_inputs(const std::vector<at::Tensor>& arguments);
  void run_scoped(const Step& step);
  void record(const Step& step);

  std::unique_ptr<DeviceGraph> graph_;
  c10::Device device_;
  Hooks hooks_;
  std::vector<Signature> signature_;
  bool called_ = false;
  int warm_ups_ = 0;
  bool recorded_ = false;
  std::vector<at::Tensor> inputs_;  // under a graph always the same
  std::vector<at::Tensor> kept_;
};

}  // namespace fabric::detail
