#include <fabric/checkpoint/format/pickle_calls.h>

#include <cctype>

#include <ATen/core/Tensor.h>

#include <fabric/checkpoint/format/printable.h>

namespace fabric::detail {
namespace {

using Arguments = std::span<const PickleId>;

// Of functions that say how many they take.
void require_arguments(const PickleGraph& graph, bool fits, PickleId function) {
  graph.require(fits, "calls ", graph.global(function).name, " with other arguments than Python ",
                "does");
}

// A set, dictionary or list that has what another one has. It is never written after that, so the
// two share it.
PickleId same_parts(PickleGraph& graph, PickleKind kind, PickleId of) {
  PickleNode node = graph.nodes[of];
  node.kind = kind;
  node.open = false;
  return graph.add(node);
}

double number(const PickleGraph& graph, PickleId id) {
  const PickleNode& node = graph.nodes[id];
  return node.kind == PickleKind::real ? node.real : static_cast<double>(node.integer);
}

PickleId make_complex(PickleGraph& graph, Arguments arguments, PickleId function) {
  bool fits = arguments.size() == 2;
  for (const PickleId id : arguments) {
    fits = fits && (graph.is(id, PickleKind::real) || graph.is(id, PickleKind::integer));
  }
  require_arguments(graph, fits, function);
  graph.complexes.emplace_back(number(graph, arguments[0]), number(graph, arguments[1]));
  return graph.add_indexed(PickleKind::complex, graph.complexes.size() - 1);
}

PickleId make_device(PickleGraph& graph, Arguments arguments, PickleId function) {
  const bool fits = !arguments.empty() && graph.is(arguments[0], PickleKind::text) &&
                    (arguments.size() == 1 ||
                     (arguments.size() == 2 && graph.is(arguments[1], PickleKind::integer)));
  require_arguments(graph, fits, function);
  std::string name(graph.text(arguments[0]));
  if (arguments.size() == 2) {
    name += ":" + std::to_string(graph.nodes[arguments[1]].integer);
  }
  try {
    graph.devices.emplace_back(name);
  } catch (const std::exception&) {
    graph.require(false, "names the device '", Printable{name},
                  "', which this LibTorch does not know");
  }
  return graph.add_indexed(PickleKind::device, graph.devices.size() - 1);
}

// bytes(), bytearray(), bytearray(bytes), bytearray(text, "latin-1").
PickleId make_bytes(PickleGraph& graph, Arguments arguments, PickleId function) {
  if (arguments.empty()) {
    return graph.add_text(PickleKind::bytes, {});
  }
  const PickleKind kind = graph.nodes[arguments[0]].kind;
  const bool is_text = kind == PickleKind::text && arguments.size() == 2;
  require_arguments(graph,
                    is_text || (arguments.size() == 1 &&
                                (kind == PickleKind::bytes || kind == PickleKind::latin1)),
                    function);
  return same_parts(graph, is_text ? PickleKind::latin1 : kind, arguments[0]);
}

PickleId encode(PickleGraph& graph, Arguments arguments, PickleId function) {
  require_arguments(
      graph,
      arguments.size() == 2 && graph.is(arguments[0], PickleKind::text) &&
          graph.is(arguments[1], PickleKind::text) &&
          (graph.text(arguments[1]) == "latin1" || graph.text(arguments[1]) == "latin-1"),
      function);
  return same_parts(graph, PickleKind::latin1, arguments[0]);
}

// A container made of another: set([…]), Counter({…}), torch.Size((…)).
PickleId make_from(PickleGraph& graph, Arguments arguments, PickleKind kind, PickleKind from,
                   PickleId function) {
  require_arguments(graph, arguments.size() == 1 && graph.is(arguments[0], from), function);
  return same_parts(graph, kind, arguments[0]);
}

PickleId make_size(PickleGraph& graph, Arguments arguments, PickleId function) {
  const PickleId size = make_from(graph, arguments, PickleKind::size, PickleKind::tuple, function);
  for (const PickleId id : graph.parts(size)) {
    require_arguments(graph, graph.is(id, PickleKind::integer), function);
  }
  return size;
}

// (data, requires_grad, hooks[, state]).
PickleId rebuild_parameter(PickleGraph& graph, Arguments arguments, PickleId function) {
  const bool fits = !arguments.empty() && graph.is(arguments[0], PickleKind::tensor) &&
                    (arguments.size() == 1 || graph.is(arguments[1], PickleKind::boolean));
  require_arguments(graph, fits, function);
  return add_pickle_tensor(graph, graph.tensors[graph.nodes[arguments[0]].index],
                           arguments.size() == 1 || graph.nodes[arguments[1]].integer != 0);
}

// (function, type, arguments of it, state): a tensor with attributes, or a subclass.
PickleId rebuild_from_type(PickleGraph& graph, Arguments arguments, PickleId function) {
  require_arguments(graph,
                    arguments.size() == 4 && graph.is(arguments[0], PickleKind::global) &&
                        graph.is(arguments[1], PickleKind::global) &&
                        graph.is(arguments[2], PickleKind::tuple),
                    function);
  graph.require(graph.is_global(arguments[1], PickleFunction::tensor_class) ||
                    graph.is_global(arguments[1], PickleFunction::parameter_class),
                "holds an object of ", graph.global(arguments[1]).name,
                ", a subclass of Tensor; expected plain tensors");
  const PickleFunction inner = graph.global(arguments[0]).function;
  require_arguments(
      graph,
      inner == PickleFunction::rebuild_tensor || inner == PickleFunction::rebuild_tensor_v3 ||
          inner == PickleFunction::rebuild_parameter || inner == PickleFunction::rebuild_from_cpu,
      function);
  return call_pickle_global(graph, arguments[0], arguments[2]);
}

// (tensor, dtype, device, requires_grad): of devices without storages.
PickleId rebuild_from_cpu(PickleGraph& graph, Arguments arguments, PickleId function) {
  const bool fits = arguments.size() == 4 && graph.is(arguments[0], PickleKind::tensor) &&
                    graph.is_global(arguments[1], PickleFunction::dtype) &&
                    graph.is(arguments[3], PickleKind::boolean);
  require_arguments(graph, fits, function);
  const StoredTensor& tensor = graph.tensors[graph.nodes[arguments[0]].index];
  require_arguments(graph, tensor.dtype() == graph.global(arguments[1]).dtype, function);
  return add_pickle_tensor(graph, tensor, graph.nodes[arguments[3]].integer != 0);
}

PickleId add_instance(PickleGraph& graph, PickleInstance instance) {
  graph.instances.push_back(instance);
  return graph.add_indexed(PickleKind::instance, graph.instances.size() - 1);
}

// getattr(enum, "member").
PickleId member_of(PickleGraph& graph, Arguments arguments, PickleId function) {
  const bool fits = arguments.size() == 2 &&
                    graph.is_global(arguments[0], PickleFunction::plain_class) &&
                    graph.is(arguments[1], PickleKind::text);
  require_arguments(graph, fits, function);
  return add_instance(graph, {.type = arguments[0], .member = arguments[1]});
}

}  // namespace

PickleId call_pickle_global(PickleGraph& graph, PickleId function, PickleId tuple) {
  const Arguments arguments = graph.parts(tuple);
  switch (graph.global(function).function) {
    case PickleFunction::ordered_dict:
      require_arguments(graph, arguments.empty(), function);
      return graph.add_container(PickleKind::ordered_dict);
    case PickleFunction::default_dict:
      require_arguments(graph,
                        arguments.empty() ||
                            (arguments.size() == 1 && (graph.is(arguments[0], PickleKind::global) ||
                                                       graph.is(arguments[0], PickleKind::none))),
                        function);
      return graph.add_container(PickleKind::dict);
    case PickleFunction::counter:
      return make_from(graph, arguments, PickleKind::dict, PickleKind::dict, function);
    case PickleFunction::set:
      return make_from(graph, arguments, PickleKind::set, PickleKind::list, function);
    case PickleFunction::frozenset:
      return make_from(graph, arguments, PickleKind::frozenset, PickleKind::list, function);
    case PickleFunction::complex:
      return make_complex(graph, arguments, function);
    case PickleFunction::bytes:
    case PickleFunction::bytearray:
      return make_bytes(graph, arguments, function);
    case PickleFunction::encode:
      return encode(graph, arguments, function);
    case PickleFunction::size:
      return make_size(graph, arguments, function);
    case PickleFunction::device:
      return make_device(graph, arguments, function);
    case PickleFunction::layout:
      require_arguments(graph, arguments.size() == 1 && graph.is(arguments[0], PickleKind::text),
                        function);
      return arguments[0];
    case PickleFunction::rebuild_tensor:
      return rebuild_pickle_tensor(graph, arguments, false);
    case PickleFunction::rebuild_tensor_v3:
      return rebuild_pickle_tensor(graph, arguments, true);
    case PickleFunction::parameter_class:
    case PickleFunction::rebuild_parameter:
      return rebuild_parameter(graph, arguments, function);
    case PickleFunction::rebuild_from_type:
      return rebuild_from_type(graph, arguments, function);
    case PickleFunction::rebuild_from_cpu:
      return rebuild_from_cpu(graph, arguments, function);
    case PickleFunction::get_attribute:
      return member_of(graph, arguments, function);
    case PickleFunction::plain_class:
      return add_instance(graph, {.type = function, .arguments = arguments.empty() ? 0 : tuple});
    case PickleFunction::builtin_class:
    case PickleFunction::dtype:
    case PickleFunction::storage:
    case PickleFunction::untyped_storage:
    case PickleFunction::tensor_class:
      break;
  }
  graph.require(false, "calls ", graph.describe(function), ", which nothing does");
  return 0;
}

}  // namespace fabric::detail
