#include <fabric/detail/model_core.h>

#include <algorithm>

#include <accelerators/logging.h>
#include <fabric/detail/padded_iterations.h>
#include <fabric/memory_format.h>
#include <strategies/explicit_backward.h>

namespace fabric::detail {
namespace {

// The innermost routed call of this thread.
thread_local RoutedCall* innermost = nullptr;
// While a function of the forward runs again in backward: the calls it was in.
thread_local const OpenCalls* again = nullptr;

void warn_of_padding(const ModelCore& core) {
  static std::atomic<bool> said{false};
  if (!core.training() && !said.exchange(true)) {
    log_warning(str("[fabric.data_loader] ", core.label, " is evaluated on a loader that repeats ",
                    "examples so that all ranks have equally many; sums over ranks count those ",
                    "twice. Hint: make the loader with {.tail = fabric::Tail::exact}."));
  }
}

}  // namespace

RoutedCall::RoutedCall(ModelCore& core, const EntryOptions& options, std::uint64_t entry)
    : core_(core),
      outer_(innermost),
      entry_(core, options),
      own_precision_(
          options.precision.inherits()
              ? std::nullopt
              : std::optional<Precision>(std::in_place, options.precision.choice(), core.device)),
      precision_(precision()) {
  if (core.guard) {
    core.guard->refresh();
  }
  // A call that runs again has been announced, and its buffers sent.
  if (again == nullptr && core.managed->wants_calls()) {
    core.managed->before_call({.training = core.training(), .sync = options.sync, .entry = entry});
  }
  if (padded_iterations > 0) {
    warn_of_padding(core);
  }
  innermost = this;
}

RoutedCall::~RoutedCall() {
  innermost = outer_;
}

bool RoutedCall::inside(const ModelCore& core) {
  for (const RoutedCall* call = innermost; call != nullptr; call = call->outer_) {
    if (&call->core_ == &core) {
      return true;
    }
  }
  return again != nullptr &&
         std::find(again->models_.begin(), again->models_.end(), &core) != again->models_.end();
}

OpenCalls OpenCalls::now() {
  OpenCalls calls = again == nullptr ? OpenCalls() : *again;
  for (const RoutedCall* call = innermost; call != nullptr; call = call->outer_) {
    calls.models_.push_back(&call->core_);
  }
  return calls;
}

bool OpenCalls::running_again() {
  return again != nullptr;
}

OpenCalls::Scope::Scope(const OpenCalls& first)
    : innermost_before_(std::exchange(innermost, nullptr)),
      again_before_(std::exchange(again, &first)) {}

OpenCalls::Scope::~Scope() {
  innermost = innermost_before_;
  again = again_before_;
}

at::Tensor RoutedCall::treat_input(const at::Tensor& input) const {
  at::Tensor converted = precision().converts() ? precision().convert_input(input) : input;
  if (core_.input_dtype) {
    converted = cast_floating(converted, *core_.input_dtype);
  }
  return core_.channels_last ? channels_last(converted) : converted;
}

at::Tensor RoutedCall::treat_output(const at::Tensor& output, at::ScalarType dtype) const {
  at::Tensor converted = output;
  if (core_.output_dtype) {
    converted = cast_floating(output, *core_.output_dtype);
  } else if (precision().converts()) {
    converted = precision().convert_output(output, dtype);
  }
  if (core_.guards_outputs && converted.requires_grad()) {
    converted.register_hook([label = core_.label](const at::Tensor&) {
      FABRIC_CHECK(Routing, ExplicitBackward::any(),
                   "[fabric.backward] loss.backward() was called ", "on an output of ", label,
                   ", whose strategy or precision must act in backward. ",
                   "Hint: fabric.backward(loss).");
    });
  }
  return converted;
}

void add_entry(ModelCore& core, Entry entry) {
  if (!entry.options.precision.inherits()) {
    const Precision own(entry.options.precision.choice(), core.device);
    FABRIC_CHECK(Misconfiguration, own.parameter_dtype() == core.precision->parameter_dtype(),
                 "[fabric.entries] entry '", entry.name, "' of ", core.label, " asks for ",
                 own.choice().name(), ", but the parameters were set up for ",
                 core.precision->choice().name(), "; expected a precision with the same ",
                 "parameters (32-true, bf16-mixed and 16-mixed share theirs). Hint: set the model ",
                 "up with a Fabric of that precision.");
    const bool no_gradients =
        entry.options.grad.is("off") || entry.options.grad.is("inference_mode");
    FABRIC_CHECK(Misconfiguration, !own.scales_loss() || core.scaler || no_gradients,
                 "[fabric.entries] entry '", entry.name, "' of ", core.label,
                 " asks for 16-mixed, ",
                 "whose gradients need loss scaling, but the model was set up for ",
                 core.precision->choice().name(), ". Hint: {.grad = \"off\"} on the entry, or ",
                 "16-mixed for the Fabric.");
  }
  const auto same = std::find_if(core.entries.begin(), core.entries.end(),
                                 [&](const Entry& other) { return other.name == entry.name; });
  if (same == core.entries.end()) {
    core.entries.push_back(std::move(entry));
    return;
  }
  FABRIC_CHECK(Misconfiguration, entry.origin != EntryOrigin::registered,
               "[fabric.register_forward_method] '", entry.name, "' is an entry of ", core.label,
               " already (", to_text(same->origin), "). Hint: ",
               same->origin == EntryOrigin::registered
                   ? "keep the callable that the first registration returned."
                   : str("call model.", entry.name, "(…)."));
  *same = std::move(entry);
}

void add_method_entry(ModelCore& core, Entry entry, const void* pointer, std::size_t size,
                      bool named) {
  std::string bytes(static_cast<const char*>(pointer), size);
  FABRIC_CHECK(Misconfiguration,
               std::find(core.registered_methods.begin(), core.registered_methods.end(), bytes) ==
                   core.registered_methods.end(),
               "[fabric.register_forward_method] this method of ", core.label, " (", entry.name,
               ") is an entry already (registered). Hint: keep the callable that the first ",
               "registration returned.");
  const auto taken = [&core](const std::string& candidate) {
    return std::any_of(core.entries.begin(), core.entries.end(),
                       [&](const Entry& other) { return other.name == candidate; });
  };
  const std::string type = entry.name;
  for (int number = 2; !named && taken(entry.name); ++number) {
    entry.name = str(type, " #", number);
  }
  add_entry(core, std::move(entry));
  core.registered_methods.push_back(std::move(bytes));
}

}  // namespace fabric::detail

namespace fabric {

std::string_view to_text(EntryOrigin origin) {
  switch (origin) {
    case EntryOrigin::forward:
      return "forward";
    case EntryOrigin::marked:
      return "marked";
    case EntryOrigin::attributed:
      return "attributed";
    case EntryOrigin::registered:
      break;
  }
  return "registered";
}

}  // namespace fabric
