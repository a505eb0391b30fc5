#include <strategies/flat/agreement.h>

#include <limits>

#include <ATen/ATen.h>

#include <accelerators/ordinary_scope.h>

namespace fabric {
namespace {

constexpr int kUnitBits = 24;
constexpr int kKindBits = 4;

std::int64_t encode(const EngineStep& step) {
  return (step.sequence << (kUnitBits + kKindBits)) |
         (static_cast<std::int64_t>(step.kind) << kUnitBits) | static_cast<std::int64_t>(step.unit);
}

EngineStep decode(std::int64_t code) {
  EngineStep step;
  step.unit = static_cast<std::size_t>(code & ((std::int64_t{1} << kUnitBits) - 1));
  step.kind = static_cast<EngineStep::Kind>((code >> kUnitBits) & ((1 << kKindBits) - 1));
  step.sequence = code >> (kUnitBits + kKindBits);
  return step;
}

// Says nothing in a minimum.
constexpr std::int64_t kNothing = std::numeric_limits<std::int64_t>::max();

}  // namespace

Agreement agree(const Communicator& communicator, const EngineStep& step, std::int64_t state) {
  Agreement agreement;
  const bool at_end = step.kind == EngineStep::end_of_backward;
  if (communicator.alone()) {
    agreement.any_at_end = agreement.all_at_end = at_end;
    return agreement;
  }
  const OrdinaryScope ordinary;
  const at::Tensor message = at::empty({5}, at::kLong);
  auto* values = message.mutable_data_ptr<std::int64_t>();
  const std::int64_t own = encode(step);
  values[0] = at_end ? kNothing : own;
  values[1] = at_end ? kNothing : -own;
  values[2] = state;
  values[3] = -state;
  values[4] = at_end ? 0 : 1;
  communicator.all_reduce(message, ReduceOp::min).wait();
  agreement.all_at_end = values[0] == kNothing;
  agreement.any_at_end = values[4] == 0;
  agreement.same_step = agreement.all_at_end || values[0] == -values[1];
  agreement.same_state = values[2] == -values[3];
  agreement.other = decode(values[0] == own ? -values[1] : values[0]);
  return agreement;
}

}  // namespace fabric
