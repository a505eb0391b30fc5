#include <fabric/checkpoint/random_state.h>

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <c10/util/hash.h>

#include <accelerators/logging.h>
#include <accelerators/ordinary_scope.h>
#include <fabric/checkpoint/state.h>
#include <fabric/collectives.h>

namespace fabric {
namespace detail {
namespace {

at::Tensor state_of(const at::Generator& generator) {
  const OrdinaryScope ordinary;
  at::Generator copy = generator;
  const std::lock_guard lock(copy.mutex());
  return copy.get_state().clone();
}

void set_state(at::Generator generator, const at::Tensor& state) {
  const std::lock_guard lock(generator.mutex());
  generator.set_state(state);
}

StateList over_ranks(const StateJob& job, const at::Tensor& own) {
  const OrdinaryScope ordinary;
  StateList list;
  if (job.world_size() == 1) {
    list.push_back(own);
    return list;
  }
  const at::Tensor all = at::empty({job.world_size(), own.numel()}, own.options());
  job.group->control.all_gather(all, own).wait();
  for (const at::Tensor& state : all.unbind(0)) {
    list.push_back(state);
  }
  return list;
}

// Rank 0's numbers, led astray by the rank: other ones than any saved rank's.
void draw_apart(at::Generator generator, const at::Tensor& first, int rank) {
  set_state(generator, first);
  const std::lock_guard lock(generator.mutex());
  generator.set_current_seed(c10::hash_combine(generator.current_seed(), std::size_t(rank)));
}

void plan_load(const StateDict& from, const char* key, const at::Generator& generator,
               LoadScope& scope) {
  const StateValue* list = from.find(key);
  if (list == nullptr) {
    scope.missing(key);
    return;
  }
  const LoadScope::At at(scope, key);
  const at::Tensor now = state_of(generator);
  if (!list->is_list() || list->list().empty()) {
    scope.mismatch(detail::str("got ", list->description(), "; expected a state for each rank"));
    return;
  }
  const auto saved = static_cast<int>(list->list().size());
  const int rank = scope.job.rank();
  const StateValue& own = list->list()[static_cast<std::size_t>(rank < saved ? rank : 0)];
  if (!own.is_tensor() || own.stored().dtype() != at::kByte ||
      own.stored().sizes() != now.sizes()) {
    scope.mismatch(detail::str("got ", own.description(), "; expected ", now.numel(),
                               " bytes of a generator"));
    return;
  }
  const at::Tensor state = now.clone();
  scope.read(own.stored(), state);
  scope.then([state, generator, rank, saved, world = scope.job.world_size()] {
    if (rank < saved) {
      set_state(generator, state);
    } else {
      draw_apart(generator, state, rank);
    }
    if (rank == 0 && world > saved) {
      log_info(detail::str("[fabric.load] the checkpoint has random numbers of ", saved, " ranks; ",
                           world - saved, " new ones draw numbers of their own"));
    }
  });
}

class GeneratorNode final : public StateNode {
 public:
  explicit GeneratorNode(at::Generator generator) : generator_(std::move(generator)) {}
  StateValue save(SaveScope&) const override { return state_of(generator_); }
  StateValue load(const StateValue& from, LoadScope& scope) override {
    const at::Tensor state = state_of(generator_);
    if (!from.is_tensor() || from.stored().dtype() != at::kByte ||
        from.stored().sizes() != state.sizes()) {
      scope.mismatch(detail::str("got ", from.description(), "; expected ", state.numel(),
                                 " bytes of a generator"));
      return from;
    }
    scope.read(from.stored(), state);
    scope.then([state, generator = generator_] { set_state(generator, state); });
    return {};
  }

 private:
  at::Generator generator_;
};

}  // namespace

std::shared_ptr<StateNode> generator_node(at::Generator generator) {
  return std::make_shared<GeneratorNode>(std::move(generator));
}

}  // namespace detail

namespace {

const at::Generator& generator_of(c10::Device device) {
  return at::globalContext().defaultGenerator(device);
}

}  // namespace

StateDict RandomState::save_state(detail::SaveScope& scope) const {
  StateDict state{{"cpu", detail::over_ranks(scope.job, detail::state_of(generator_of(at::kCPU)))}};
  if (!scope.job.device.is_cpu()) {
    state.set("device",
              detail::over_ranks(scope.job, detail::state_of(generator_of(scope.job.device))));
  }
  return state;
}

void RandomState::load_state(const StateDict& from, detail::LoadScope& scope) {
  detail::plan_load(from, "cpu", generator_of(at::kCPU), scope);
  if (!scope.job.device.is_cpu()) {
    detail::plan_load(from, "device", generator_of(scope.job.device), scope);
  }
}

}  // namespace fabric
