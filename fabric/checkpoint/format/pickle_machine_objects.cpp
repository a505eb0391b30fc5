// Instructions that name, call, fill and refer to objects.
#include <algorithm>
#include <optional>

#include <fabric/checkpoint/format/pickle_calls.h>
#include <fabric/checkpoint/format/pickle_machine.h>
#include <fabric/checkpoint/format/printable.h>

namespace fabric::detail {
namespace {

constexpr std::size_t kMostName = 1000;

}  // namespace

void PickleMachine::push_global(std::string_view module, std::string_view name) {
  require(module.size() <= kMostName && name.size() <= kMostName,
          "is damaged: the name of a global is too long");
  const std::string full = pickle_global_name(module, name);
  std::optional<PickleGlobal> global = find_pickle_global(module, name);
  if (std::find(options_.plain_classes.begin(), options_.plain_classes.end(), full) !=
      options_.plain_classes.end()) {
    global = PickleGlobal{PickleFunction::plain_class, c10::ScalarType::Undefined, full};
  } else if (global && global->function == PickleFunction::get_attribute &&
             options_.plain_classes.empty()) {
    global.reset();
  }
  const std::string_view refused = refused_pickle_global(full);
  require(refused.empty(), "holds ", refused, ", which a state cannot hold; got ", Printable{full},
          ". Hint: save what to_dense(), dequantize() or full_tensor() gives");
  require(global.has_value(), "names '", Printable{full},
          "', which nothing may run or make; expected tensors, numbers, texts and containers of "
          "them. Hint: save state dictionaries, not objects");
  graph_.globals.push_back(*std::move(global));
  push(graph_.add_indexed(PickleKind::global, graph_.globals.size() - 1));
}

void PickleMachine::extend(std::span<const PickleId> values, PickleKind kind, bool pairs) {
  const PickleId target = top();
  require(graph_.is(target, kind) || (pairs && graph_.is(target, PickleKind::ordered_dict)),
          "is damaged: it adds to ", graph_.describe(target));
  require(!pairs || values.size() % 2 == 0, "is damaged: a key without a value");
  std::vector<PickleId>& container = graph_.containers[graph_.nodes[target].index];
  container.insert(container.end(), values.begin(), values.end());
}

void PickleMachine::call(PickleId function, PickleId arguments) {
  require(graph_.is(function, PickleKind::global) && graph_.is(arguments, PickleKind::tuple),
          "is damaged: it calls ", graph_.describe(function));
  push(call_pickle_global(graph_, function, arguments));
}

void PickleMachine::make_object() {
  const PickleId arguments = pop();
  const PickleId type = pop();
  require(graph_.is(type, PickleKind::global) && graph_.is(arguments, PickleKind::tuple),
          "is damaged: it makes an object of ", graph_.describe(type));
  // Only containers and plain classes: what else there is has a function that makes it.
  push(call_pickle_global(graph_, type, arguments));
}

void PickleMachine::build() {
  const PickleId state = pop();
  const PickleId target = top();
  if (graph_.is(target, PickleKind::instance)) {
    graph_.instances[graph_.nodes[target].index].state = state;
    return;
  }
  // Attributes, as the `_metadata` of a module's state_dict(): nobody here asks for them.
  require(graph_.is(target, PickleKind::ordered_dict) && graph_.is(state, PickleKind::dict),
          "gives a state to ", graph_.describe(target));
}

void PickleMachine::load_persistent() {
  const std::span<const PickleId> parts = graph_.parts(top());
  require(graph_.is(top(), PickleKind::tuple) && parts.size() == 5 &&
              graph_.is(parts[0], PickleKind::text) && graph_.text(parts[0]) == "storage",
          "refers to something outside that is no storage");
  const PickleId storage = load_pickle_storage(graph_, parts, options_);
  pop();
  push(storage);
}

}  // namespace fabric::detail
