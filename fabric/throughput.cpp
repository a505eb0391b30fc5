#include <fabric/throughput.h>

#include <algorithm>
#include <chrono>
#include <string_view>
#include <utility>

#include <ATen/ATen.h>

#include <accelerators/error.h>
#include <accelerators/ordinary_scope.h>

namespace fabric {
namespace {

double monotonic_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Peak {
  std::string_view name;  // part of the device's
  double half;            // fp16, and bf16 but for Volta
  double tf32;            // fp32 with TF32 allowed; 0 where there is none
  double fp32;
  double fp64;
  bool bf16 = true;
};

// Dense, in TFLOP/s, with fp32 accumulation: NVIDIA's data sheets of H100, H100 NVL, H200, A100,
// V100 and L4 (those with sparsity halved), and the Ada white paper for the RTX 4090. More special
// names first.
constexpr Peak kPeaks[] = {
    {"H200", 989.4, 494.7, 66.9, 66.9},   {"H100 NVL", 835, 417.5, 60, 60},
    {"H100 PCIe", 756, 378, 51, 51},      {"H100", 989.4, 494.7, 66.9, 66.9},
    {"A100", 312, 156, 19.5, 19.5},       {"V100-PCIE", 112, 0, 14, 7, false},
    {"V100", 125, 0, 15.7, 7.8, false},   {"L4", 121, 60, 30.3, 0.47},
    {"RTX 4090", 165.2, 82.6, 82.6, 1.3},
};

// Whether a device is the one of that name, and not a relation ("L40S", "GH200", "H200 NVL").
bool is_named(std::string_view device, std::string_view name) {
  const std::size_t at = device.find(name);
  if (at == std::string_view::npos || (at > 0 && device[at - 1] != ' ')) {
    return false;
  }
  const std::string_view rest = device.substr(at + name.size());
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  return rest.empty() || rest[0] == '-' || (rest.size() > 1 && rest[0] == ' ' && digit(rest[1]));
}

}  // namespace

std::optional<double> peak_flops(const std::string& device_name, at::ScalarType dtype) {
  for (const Peak& peak : kPeaks) {
    if (!is_named(device_name, peak.name)) {
      continue;
    }
    constexpr double kTera = 1e12;
    switch (dtype) {
      case at::kHalf:
        return peak.half * kTera;
      case at::kBFloat16:
        return peak.bf16 ? std::optional(peak.half * kTera) : std::nullopt;
      case at::kFloat:
        return (at::globalContext().allowTF32CuBLAS() && peak.tf32 > 0 ? peak.tf32 : peak.fp32) *
               kTera;
      case at::kDouble:
        return peak.fp64 * kTera;
      default:
        return {};
    }
  }
  return {};
}

double measured_peak_flops(c10::Device device, at::ScalarType dtype) {
  const OrdinaryScope ordinary;
  const std::int64_t size = device.is_cpu() ? 1024 : 8192;
  const auto options = at::TensorOptions().dtype(dtype).device(device);
  const at::Tensor left = at::ones({size, size}, options);
  const at::Tensor right = at::ones({size, size}, options);
  double best = 0;
  for (int round = 0; round < 5; ++round) {
    const double begin = monotonic_seconds();
    const at::Tensor result = at::mm(left, right);
    result[0][0].item();  // waits for the device
    const double seconds = monotonic_seconds() - begin;
    best = std::max(best, 2.0 * static_cast<double>(size * size * size) / seconds);
  }
  return best;
}

Throughput::Throughput(ThroughputOptions options) : options_(std::move(options)) {
  FABRIC_CHECK(Misconfiguration, options_.window > 0, "[fabric.throughput] rates are taken over a ",
               "number of updates; got window=", options_.window, "; expected at least 1");
  FABRIC_CHECK(
      Misconfiguration,
      options_.flops_per_step >= 0 && options_.flops_per_sample >= 0 && options_.processes >= 0 &&
          options_.peak_flops.value_or(1) > 0,
      "[fabric.throughput] a number is negative; got flops_per_step=", options_.flops_per_step,
      ", flops_per_sample=", options_.flops_per_sample, ", processes=", options_.processes,
      " and peak_flops=", options_.peak_flops.value_or(1));
  if (!options_.clock) {
    options_.clock = &monotonic_seconds;
  }
  const at::ScalarType dtype = options_.dtype.value_or(at::kFloat);
  if (!options_.peak_flops) {
    options_.peak_flops = peak_flops(options_.device_name, dtype);
  }
  const bool counts = options_.flops_per_step > 0 || options_.flops_per_sample > 0;
  if (!options_.peak_flops && counts && options_.device && options_.device->is_cpu()) {
    options_.peak_flops = measured_peak_flops(*options_.device, dtype);
  }
}

void Throughput::update(const StepWork& work) {
  FABRIC_CHECK(Misconfiguration, work.samples >= 0 && work.tokens >= 0 && work.flops >= 0,
               "[fabric.throughput] work cannot be negative; got samples=", work.samples,
               ", tokens=", work.tokens, ", flops=", work.flops);
  paused_at_ = options_.clock();
  if (marks_.empty()) {
    left_out_ = 0;
    marks_.push_back({paused_at_, 0, 0, 0});
    return;
  }
  const Mark& last = marks_.back();
  const auto samples = static_cast<double>(work.samples);
  marks_.push_back(
      {paused_at_ - left_out_, last.samples + samples,
       last.tokens + static_cast<double>(work.tokens),
       last.flops + work.flops + options_.flops_per_step + options_.flops_per_sample * samples});
  if (marks_.size() > static_cast<std::size_t>(options_.window) + 1) {
    marks_.pop_front();
  }
}

void Throughput::leave_out() {
  const double now = options_.clock();
  left_out_ += marks_.empty() ? 0 : now - paused_at_;
  paused_at_ = now;
}

ThroughputReport Throughput::compute() const {
  ThroughputReport report;
  if (marks_.size() < 2) {
    return report;
  }
  const Mark& first = marks_.front();
  const Mark& last = marks_.back();
  report.seconds = last.time - first.time;
  report.steps = static_cast<int>(marks_.size()) - 1;
  if (report.seconds <= 0) {
    return report;
  }
  const auto rate = [&](double amount) { return amount / report.seconds; };
  report.device = {.steps_per_second = rate(report.steps),
                   .samples_per_second = rate(last.samples - first.samples),
                   .tokens_per_second = rate(last.tokens - first.tokens),
                   .flops_per_second = rate(last.flops - first.flops)};
  const double processes = std::max(1, options_.processes);
  report.global = {.steps_per_second = report.device.steps_per_second,
                   .samples_per_second = report.device.samples_per_second * processes,
                   .tokens_per_second = report.device.tokens_per_second * processes,
                   .flops_per_second = report.device.flops_per_second * processes};
  if (options_.peak_flops && report.device.flops_per_second > 0) {
    report.mfu = report.device.flops_per_second / *options_.peak_flops;
  }
  return report;
}

}  // namespace fabric
