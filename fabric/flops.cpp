#include <fabric/flops.h>

#include <algorithm>
#include <iomanip>
#include <map>
#include <mutex>
#include <sstream>

#include <ATen/record_function.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <fabric/detail/flop_formulas.h>

namespace fabric {
namespace {

// How many counted operators this thread is inside of: what a kernel is made of counts once.
thread_local int inside = 0;

// The slot of LibTorch's thread-local information, which follows backward onto its threads, that
// nothing on servers uses.
constexpr auto kSlot = c10::DebugInfoKind::MOBILE_RUNTIME_INFO;

}  // namespace

class FlopCounter::Counts final : public c10::DebugInfoBase {
 public:
  explicit Counts(Counts* outer) : outer_(outer) {}

  void add(const char* name, std::int64_t flops) {
    for (Counts* counts = this; counts != nullptr; counts = counts->outer_) {
      const std::lock_guard lock(counts->mutex_);
      OperatorFlops& entry = counts->operators_[name];
      entry.name = name;
      ++entry.calls;
      entry.flops += flops;
    }
  }

  Flops flops() const {
    const std::lock_guard lock(mutex_);
    Flops result;
    for (const auto& [name, entry] : operators_) {
      result.total += entry.flops;
      result.operators.push_back(entry);
    }
    std::stable_sort(
        result.operators.begin(), result.operators.end(),
        [](const OperatorFlops& a, const OperatorFlops& b) { return a.flops > b.flops; });
    return result;
  }

 private:
  Counts* outer_;  // lives as long: it is further out on the stack
  mutable std::mutex mutex_;
  std::map<std::string, OperatorFlops> operators_;
};

class FlopObserver {
  struct Counted : at::ObserverContext {};

 public:
  static FlopCounter::Counts* current() {
    return static_cast<FlopCounter::Counts*>(c10::ThreadLocalDebugInfo::get(kSlot));
  }

  static std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction& function) {
    const detail::FlopFormula formula = detail::flop_formula_of(function.name());
    if (formula == nullptr) {
      return nullptr;
    }
    if (inside++ == 0) {
      if (FlopCounter::Counts* counts = current()) {
        counts->add(function.name(), formula(function.inputs()));
      }
    }
    return std::make_unique<Counted>();
  }

  static void end(const at::RecordFunction&, at::ObserverContext* context) {
    if (context != nullptr) {
      --inside;
    }
  }
};

FlopCounter::FlopCounter() : counts_(std::make_shared<Counts>(FlopObserver::current())) {
  const bool outermost = FlopObserver::current() == nullptr;
  c10::ThreadLocalDebugInfo::_push(kSlot, counts_);
  if (outermost) {
    callback_ = at::addThreadLocalCallback(
        at::RecordFunctionCallback(&FlopObserver::begin, &FlopObserver::end)
            .needsInputs(true)
            .scopes({at::RecordScope::FUNCTION}));
  }
}

FlopCounter::~FlopCounter() {
  if (callback_ != 0) {
    at::removeCallback(callback_);
  }
  c10::ThreadLocalDebugInfo::_pop(kSlot);
}

Flops FlopCounter::flops() const {
  return counts_->flops();
}

std::string Flops::table() const {
  std::ostringstream out;
  for (const OperatorFlops& each : operators) {
    out << std::left << std::setw(56) << each.name << std::right << std::setw(8) << each.calls
        << std::setw(20) << each.flops << std::setw(7) << std::fixed << std::setprecision(1)
        << (total == 0 ? 0.0 : 100.0 * static_cast<double>(each.flops) / static_cast<double>(total))
        << "%\n";
  }
  return out.str();
}

}  // namespace fabric
