#include <fabric/simulation.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <map>

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <torch/optim/optimizer.h>

#include <accelerators/collectives/fake/fake.h>
#include <accelerators/collectives/world.h>
#include <accelerators/error.h>
#include <fabric/detail/model_core.h>
#include <strategies/flat/optimizer_state.h>

namespace fabric {
namespace {

using Clock = std::chrono::steady_clock;

double number_of(std::string_view key, std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  FABRIC_CHECK(Misconfiguration, error == std::errc() && end == text.data() + text.size(),
               "[fabric.simulate] not a number; got ", key, "='", text, "' from FABRIC_SIMULATE");
  return value;
}

/// Counts what the CPU allocator hands out on this thread.
class CountAllocations final : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void* /*pointer*/, std::int64_t size, std::size_t, std::size_t,
                         c10::Device) override {
    now_ += size;
    peak_ = std::max(peak_, now_);
  }
  bool memoryProfilingEnabled() const override { return true; }
  std::int64_t peak() const { return peak_; }

 private:
  std::int64_t now_ = 0;
  std::int64_t peak_ = 0;
};

// Recursive doubling and halving (Thakur, Rabenseifner and Gropp, "Optimization of Collective
// Communication Operations in MPICH", 2005): log2(n) messages, and each rank sends what the others
// lack.
struct Cost {
  double messages = 0;
  double bytes = 0;  // sent by a rank
};

Cost cost_of(const fake::Collective& collective) {
  const double n = collective.ranks;
  const double rounds = std::ceil(std::log2(n));
  const double others = static_cast<double>(collective.bytes) * (n - 1) / n;
  switch (collective.kind) {
    case fake::Collective::all_reduce:
    case fake::Collective::broadcast:  // a scatter and an all-gather
      return {2 * rounds, 2 * others};
    case fake::Collective::all_gather:
    case fake::Collective::reduce_scatter:
      return {rounds, others};
    case fake::Collective::barrier:
      break;
  }
  return {rounds, 0};
}

}  // namespace

SimulationOptions SimulationOptions::from_text(std::string_view text) {
  SimulationOptions options;
  while (!detail::trim(text).empty()) {
    const std::size_t comma = text.find(',');
    const std::string_view item = detail::trim(text.substr(0, comma));
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
    const std::size_t equals = std::min(item.find('='), item.size());
    const std::string_view key = detail::trim(item.substr(0, equals));
    const double value =
        number_of(key, detail::trim(item.substr(std::min(equals + 1, item.size()))));
    if (key == "world") {
      options.world = static_cast<int>(value);
    } else if (key == "per_node") {
      options.per_node = static_cast<int>(value);
    } else if (key == "steps") {
      options.steps = static_cast<int>(value);
    } else if (key == "latency_us") {
      options.latency_us = value;
    } else if (key == "bandwidth_gb") {
      options.bandwidth_gb = value;
    } else {
      FABRIC_CHECK(Misconfiguration, false, "[fabric.simulate] unknown name; got '", key,
                   "' from FABRIC_SIMULATE; expected world, per_node, steps, latency_us or ",
                   "bandwidth_gb");
    }
  }
  FABRIC_CHECK(Misconfiguration,
               options.world >= 0 && options.world <= 1 << 20 && options.per_node >= 1 &&
                   options.steps >= 2 && options.latency_us >= 0 && options.bandwidth_gb > 0,
               "[fabric.simulate] numbers that cannot be; got world=", options.world,
               ", per_node=", options.per_node, ", steps=", options.steps,
               ", latency_us=", options.latency_us, ", bandwidth_gb=", options.bandwidth_gb,
               "; expected up to 2^20 processes, at least 2 steps and a positive bandwidth");
  return options;
}

namespace detail {

struct Simulation::Content {
  SimulationOptions options;
  std::shared_ptr<CountAllocations> allocations = std::make_shared<CountAllocations>();
  std::vector<std::weak_ptr<ModelCore>> models;
  const torch::optim::Optimizer* first = nullptr;                 // its steps count
  std::map<const torch::optim::Optimizer*, std::int64_t> states;  // bytes
  int steps = 0;
  fake::Traffic before;
  Clock::time_point start;
  double seconds_a_step = 0;
};

namespace {
std::unique_ptr<Simulation>& instance() {
  static auto& simulation = *new std::unique_ptr<Simulation>;
  return simulation;
}
}  // namespace

Simulation::Simulation(SimulationOptions options) : content_(std::make_unique<Content>()) {
  content_->options = options;
}
Simulation::~Simulation() = default;

void Simulation::begin_if_asked() {
  const char* text = std::getenv("FABRIC_SIMULATE");
  if (text == nullptr || instance()) {
    return;
  }
  const SimulationOptions options = SimulationOptions::from_text(text);
  if (options.world > 0) {
    FABRIC_CHECK(Misconfiguration, world().size == 1,
                 "[fabric.simulate] a simulated world in a job of ", world().size,
                 " processes; expected one. Hint: start the program without mpirun.");
    fake::join(options.world, options.per_node);
  }
  instance().reset(new Simulation(options));
  c10::ThreadLocalDebugInfo::_push(c10::DebugInfoKind::PROFILER_STATE,
                                   instance()->content_->allocations);
}

Simulation* Simulation::current() {
  return instance().get();
}

void Simulation::watch(const std::shared_ptr<ModelCore>& model) {
  content_->models.push_back(model);
}

void Simulation::after_step(const torch::optim::Optimizer& optimizer) {
  Content& now = *content_;
  now.first = now.first == nullptr ? &optimizer : now.first;
  now.states[&optimizer] = state_bytes(optimizer);
  if (&optimizer != now.first) {
    return;
  }
  if (++now.steps == 1) {  // records orders and makes state: not like the others
    now.before = fake::traffic();
    now.start = Clock::now();
  } else if (now.steps == now.options.steps) {
    const std::chrono::duration<double> passed = Clock::now() - now.start;
    now.seconds_a_step = passed.count() / (now.steps - 1);
    if (world().rank == 0) {
      std::cout << report() << std::endl;
    }
    std::exit(0);
  }
}

std::string Simulation::report() const {
  const Content& now = *content_;
  MemoryUse use;
  for (const std::weak_ptr<ModelCore>& weak : now.models) {
    if (const auto model = weak.lock()) {
      const MemoryUse one = model->managed->memory().value_or(whole_memory(model->parameters));
      use.parameters += one.parameters;
      use.gradients += one.gradients;
      use.unsharded_parameters += one.unsharded_parameters;
      use.unsharded_gradients += one.unsharded_gradients;
    }
  }
  std::int64_t states = 0;
  for (const auto& [optimizer, bytes] : now.states) {
    states += bytes;
  }
  Cost step;
  std::int64_t collectives = 0;
  for (const auto& [collective, count] : fake::traffic()) {
    const auto found = now.before.find(collective);
    const auto times =
        static_cast<double>(count - (found == now.before.end() ? 0 : found->second)) /
        (now.steps - 1);
    const Cost once = cost_of(collective);
    step.messages += times * once.messages;
    step.bytes += times * once.bytes;
    collectives += std::llround(times);
  }
  const double communication =
      step.messages * now.options.latency_us * 1e-6 + step.bytes / (now.options.bandwidth_gb * 1e9);
  return str("simulation world=", world().size, " parameters=", use.parameters,
             " gradients=", use.gradients, " optimizer=", states,
             " unsharded_parameters=", use.unsharded_parameters,
             " unsharded_gradients=", use.unsharded_gradients,
             " allocated_peak=", now.allocations->peak(), " collectives=", collectives,
             " wire_bytes=", std::llround(step.bytes), " communication_ms=", communication * 1e3,
             " compute_ms=", now.seconds_a_step * 1e3);
}

}  // namespace detail
}  // namespace fabric
