#include <fabric/checkpoint/format/pickle_values.h>

#include <unordered_set>

#include <fabric/checkpoint/format/utf8.h>

namespace fabric::detail {
namespace {

constexpr std::size_t kTextUnit = 64;

class ValueMaker {
 public:
  ValueMaker(PickleGraph& graph, std::size_t most, int max_depth)
      : graph_(graph), left_(most), depth_left_(max_depth) {}

  StateValue make(PickleId id);

 private:
  // Marks a container while it is made.
  class Opened {
   public:
    Opened(ValueMaker& maker, PickleId id) : maker_(maker), node_(maker.graph_.nodes[id]) {
      maker.graph_.require(!node_.open, "contains itself: ", maker.graph_.describe(id),
                           " lies inside itself; expected values without cycles");
      maker.graph_.require(maker.depth_left_ > 0, "is nested too deep");
      node_.open = true;
      --maker.depth_left_;
    }
    ~Opened() {
      node_.open = false;
      ++maker_.depth_left_;
    }
    Opened(const Opened&) = delete;
    Opened& operator=(const Opened&) = delete;

   private:
    ValueMaker& maker_;
    PickleNode& node_;  // the graph does not grow any more
  };

  void spend(std::size_t units) {
    graph_.require(units <= left_, "is much larger than its file: values are shared too often");
    left_ -= units;
  }
  std::string text(PickleId id) {
    const std::string_view text = graph_.text(id);
    spend(text.size() / kTextUnit);
    return std::string(text);
  }
  StateValue list(PickleId id, StateList::Kind kind);
  StateValue dict(PickleId id, bool ordered);
  StateValue instance(PickleId id);
  void add_items(StateDict& dict, PickleId id);

  PickleGraph& graph_;
  std::size_t left_;
  int depth_left_;
};

StateValue ValueMaker::make(PickleId id) {
  spend(1);
  const PickleNode& node = graph_.nodes[id];
  switch (node.kind) {
    case PickleKind::none:
      return {};
    case PickleKind::boolean:
      return node.integer != 0;
    case PickleKind::integer:
      return node.integer;
    case PickleKind::big_integer:
      return BigInteger{text(id)};
    case PickleKind::real:
      return node.real;
    case PickleKind::text:
      return text(id);
    case PickleKind::bytes:
      return Bytes{text(id)};
    case PickleKind::latin1: {
      std::optional<std::string> bytes = utf8_to_latin1(text(id));
      graph_.require(bytes.has_value(), "is damaged: bytes stand as a text that is not latin1");
      return Bytes{*std::move(bytes)};
    }
    case PickleKind::list:
      return list(id, StateList::Kind::list);
    case PickleKind::tuple:
      return list(id, StateList::Kind::tuple);
    case PickleKind::set:
      return list(id, StateList::Kind::set);
    case PickleKind::frozenset:
      return list(id, StateList::Kind::frozenset);
    case PickleKind::size:
      return list(id, StateList::Kind::size);
    case PickleKind::dict:
      return dict(id, false);
    case PickleKind::ordered_dict:
      return dict(id, true);
    case PickleKind::complex:
      return graph_.complexes[node.index];
    case PickleKind::device:
      return graph_.devices[node.index];
    case PickleKind::tensor:
      spend(graph_.tensors[node.index].sizes().size() / 4);
      return graph_.tensors[node.index];
    case PickleKind::instance:
      return instance(id);
    case PickleKind::global: {
      const PickleGlobal& global = graph_.global(id);
      if (global.function == PickleFunction::dtype) {
        return global.dtype;
      }
      if (global.function == PickleFunction::plain_class) {
        return StateDict({{"__class__", global.name}});
      }
      break;
    }
    case PickleKind::storage:
      break;
  }
  graph_.require(false, "holds ", graph_.describe(id),
                 " as a value; expected tensors, numbers, texts and containers of them");
  return {};
}

StateValue ValueMaker::list(PickleId id, StateList::Kind kind) {
  const Opened opened(*this, id);
  const std::span<const PickleId> parts = graph_.parts(id);
  spend(parts.size());  // before room is made for them
  left_ += parts.size();
  StateList list(kind);
  list.reserve(parts.size());
  for (const PickleId part : parts) {
    list.push_back(make(part));
  }
  return list;
}

StateValue ValueMaker::dict(PickleId id, bool ordered) {
  StateDict dict;
  dict.ordered = ordered;
  add_items(dict, id);
  return dict;
}

void ValueMaker::add_items(StateDict& dict, PickleId id) {
  const Opened opened(*this, id);
  const std::span<const PickleId> parts = graph_.parts(id);
  std::unordered_set<std::string_view> texts;
  std::unordered_set<std::int64_t> integers;
  for (std::size_t i = 0; i < parts.size(); i += 2) {
    const PickleKind kind = graph_.nodes[parts[i]].kind;
    bool fresh = true;
    if (kind == PickleKind::text) {
      fresh = texts.insert(graph_.text(parts[i])).second;
    } else if (kind == PickleKind::integer) {
      fresh = integers.insert(graph_.nodes[parts[i]].integer).second;
    }
    graph_.require(fresh, "is damaged: a dictionary has a key twice");
    graph_.require(kind != PickleKind::list && kind != PickleKind::set &&
                       kind != PickleKind::dict && kind != PickleKind::ordered_dict &&
                       kind != PickleKind::tensor,
                   "has ", graph_.describe(parts[i]), " as a key of a dictionary");
    StateValue key = make(parts[i]);
    dict.append(std::move(key), make(parts[i + 1]));
  }
}

StateValue ValueMaker::instance(PickleId id) {
  const Opened opened(*this, id);
  const PickleInstance& instance = graph_.instances[graph_.nodes[id].index];
  StateDict dict{{"__class__", graph_.global(instance.type).name}};
  if (instance.arguments != 0) {
    dict.append("__args__", make(instance.arguments));
  }
  if (instance.member != 0) {
    dict.append("__name__", make(instance.member));
  }
  if (graph_.is(instance.state, PickleKind::dict)) {
    add_items(dict, instance.state);
  } else if (instance.state != 0) {
    dict.append("__state__", make(instance.state));
  }
  return dict;
}

}  // namespace

StateValue make_state_value(PickleGraph& graph, PickleId root, std::size_t most, int max_depth) {
  return ValueMaker(graph, most, max_depth).make(root);
}

}  // namespace fabric::detail
