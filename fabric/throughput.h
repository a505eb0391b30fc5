// Throughput: samples, tokens and floating-point operations a second, over the last steps.
//
//     auto flops = fabric::count_flops([&] { fabric.backward(loss_of(batch)); });
//     auto throughput = fabric.throughput({.flops_per_step = flops});
//     for (auto& batch : *loader) {
//       …
//       optimizer.step();
//       throughput.update({.samples = batch.data.size(0)});
//     }
//     fabric.print(throughput.compute().global.samples_per_second);
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <fabric/flops.h>

namespace fabric {

/// What Throughput measures by. Fabric::throughput fills in device, dtype and processes.
struct ThroughputOptions {
  int window = 100;               ///< updates that rates are taken over
  FlopNumber flops_per_step = 0;  ///< operations of an update on this device (count_flops)
  FlopNumber flops_per_sample = 0;
  /// Operations a second of the device at its best, for the model FLOP utilisation; found by its
  /// name and the dtype if empty. A CPU's is measured once, when there are operations to compare.
  std::optional<double> peak_flops{};
  std::optional<c10::Device> device{};
  std::string device_name{};              ///< as its maker calls it
  std::optional<at::ScalarType> dtype{};  ///< that products are computed in; fp32 if empty
  int processes = 0;                      ///< that do as much as this one; 0 is one
  std::function<double()> clock{};        ///< seconds, never going back; the system's if empty
};

/// What was done since the last update, by this process.
struct StepWork {
  std::int64_t samples = 0;
  std::int64_t tokens = 0;
  FlopNumber flops = 0;  ///< besides those of the options
};

/// Rates of one device, or of all.
struct Rates {
  double steps_per_second = 0;
  double samples_per_second = 0;
  double tokens_per_second = 0;
  double flops_per_second = 0;
};

/// What Throughput::compute found.
struct ThroughputReport {
  double seconds = 0;  ///< that the rates are over
  int steps = 0;       ///< updates in them
  Rates device{};      ///< of this one
  Rates global{};      ///< of all processes, taken to do as much as this one; the same steps
  /// flops_per_second of the device / peak; empty where either is unknown.
  std::optional<double> mfu{};
};

/// The rates of the last `window` updates. The first update starts the clock: what it did came
/// before. Nothing is sent between processes, and nothing waits for the device: on a GPU the host
/// may be some steps ahead, which a window of 100 steps evens out, or reading the loss now and
/// then.
class Throughput {
 public:
  /// @throws MisconfigurationError for a window without updates, for negative numbers
  explicit Throughput(ThroughputOptions options = {});

  /// After each step.
  /// @throws MisconfigurationError for negative numbers
  void update(const StepWork& work);
  /// Leaves out the time since the last update or call of this: after an evaluation, a checkpoint.
  void leave_out();
  /// The rates; all 0 before the second update.
  ThroughputReport compute() const;
  /// Begins anew.
  void reset() { marks_.clear(); }

 private:
  struct Mark {
    double time;
    double samples, tokens, flops;  // since the beginning
  };
  ThroughputOptions options_;
  std::deque<Mark> marks_;
  double left_out_ = 0;
  double paused_at_ = 0;  // the last update or leave_out, by the clock
};

/// Operations a second of a device at its best with products in `dtype`, dense, from the makers'
/// data sheets (see throughput.cpp); empty for one that is not known.
///
///     fabric::peak_flops("NVIDIA H100 80GB HBM3", torch::kBFloat16);  // 989.4e12
std::optional<double> peak_flops(const std::string& device_name, at::ScalarType dtype);

/// The same, measured: the best of a few products of large matrices on `device`. Takes about a
/// second on a CPU.
double measured_peak_flops(c10::Device device, at::ScalarType dtype);

}  // namespace fabric
