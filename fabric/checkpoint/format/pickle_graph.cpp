#include <fabric/checkpoint/format/pickle_graph.h>

namespace fabric::detail {

PickleId PickleGraph::add_tuple(std::span<const PickleId> elements) {
  PickleNode node;
  node.kind = PickleKind::tuple;
  node.length = static_cast<std::uint32_t>(elements.size());
  node.index = tuples.size();
  tuples.insert(tuples.end(), elements.begin(), elements.end());
  return add(node);
}

std::span<const PickleId> PickleGraph::parts(PickleId id) const {
  const PickleNode& node = nodes[id];
  switch (node.kind) {
    case PickleKind::tuple:
    case PickleKind::size:
      return {tuples.data() + node.index, node.length};
    case PickleKind::list:
    case PickleKind::set:
    case PickleKind::frozenset:
    case PickleKind::dict:
    case PickleKind::ordered_dict:
      return containers[node.index];
    default:
      return {};
  }
}

std::ostream& operator<<(std::ostream& out, const PickleGraph::Description& description) {
  constexpr const char* kNames[] = {
      "None",          "a bool",       "an integer",     "an integer",
      "a real number", "a text",       "bytes",          "bytes",
      "a list",        "a tuple",      "a set",          "a frozenset",
      "a torch.Size",  "a dictionary", "an OrderedDict", "a complex number",
      "a device",      "the global ",  "an object of ",  "a storage",
      "a tensor"};
  const PickleGraph& graph = description.graph;
  const PickleNode& node = graph.nodes[description.id];
  out << kNames[static_cast<int>(node.kind)];
  if (node.kind == PickleKind::global) {
    out << graph.globals[node.index].name;
  } else if (node.kind == PickleKind::instance) {
    out << graph.global(graph.instances[node.index].type).name;
  }
  return out;
}

}  // namespace fabric::detail
