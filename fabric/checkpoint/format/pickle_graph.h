// What a pickle describes: a graph of small nodes, before values are made of it. Nodes refer to
// each other by number, so that sharing and cycles cost nothing here.
#pragma once

#include <complex>
#include <cstdint>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <c10/core/Device.h>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/pickle_globals.h>
#include <fabric/checkpoint/stored_tensor.h>

namespace fabric::detail {

using PickleId = std::uint32_t;

enum class PickleKind : std::uint8_t {
  none,
  boolean,
  integer,
  big_integer,  // bytes of it
  real,
  text,
  bytes,
  latin1,  // bytes that stand as a text
  list,
  tuple,
  set,
  frozenset,
  size,
  dict,  // keys and values in turn
  ordered_dict,
  complex,
  device,
  global,
  instance,
  storage,
  tensor,
};

/// One value. Which member of the union counts follows from the kind.
struct PickleNode {
  PickleKind kind = PickleKind::none;
  bool open = false;         ///< while a value is made of it: who meets it again is in a cycle
  std::uint32_t length = 0;  ///< of texts, bytes and tuples
  union {
    std::int64_t integer = 0;
    double real;
    const char* text;     // in the pickle
    std::uint64_t index;  // into the graph's vector for the kind
  };
};

struct PickleStorageNode {
  std::string key;
  PickleId type = 0;  ///< a global
  std::int64_t nbytes = 0;
  std::shared_ptr<const TensorBytes> bytes;
};

/// An object of a plain class; zero: there is none (node 0 is None).
struct PickleInstance {
  PickleId type = 0;  ///< a global
  PickleId arguments = 0;
  PickleId state = 0;
  PickleId member = 0;  ///< the name, of a member of an enum
};

class PickleGraph {
 public:
  /// @param name what texts call the pickle
  explicit PickleGraph(std::string name) : name_(std::move(name)) { nodes.emplace_back(); }

  PickleId add(PickleNode node) {
    nodes.push_back(node);
    return static_cast<PickleId>(nodes.size() - 1);
  }
  PickleId add(PickleKind kind) {
    PickleNode node;
    node.kind = kind;
    return add(node);
  }
  PickleId add_integer(std::int64_t value, PickleKind kind = PickleKind::integer) {
    PickleNode node;
    node.kind = kind;
    node.integer = value;
    return add(node);
  }
  PickleId add_real(double value) {
    PickleNode node;
    node.kind = PickleKind::real;
    node.real = value;
    return add(node);
  }
  PickleId add_text(PickleKind kind, std::string_view text) {
    PickleNode node;
    node.kind = kind;
    node.length = static_cast<std::uint32_t>(text.size());
    node.text = text.data();
    return add(node);
  }
  PickleId add_indexed(PickleKind kind, std::uint64_t index) {
    PickleNode node;
    node.kind = kind;
    node.index = index;
    return add(node);
  }
  /// A list, set or dictionary that is filled later.
  PickleId add_container(PickleKind kind) {
    containers.emplace_back();
    return add_indexed(kind, containers.size() - 1);
  }
  PickleId add_tuple(std::span<const PickleId> elements);

  bool is(PickleId id, PickleKind kind) const { return nodes[id].kind == kind; }
  std::string_view text(PickleId id) const { return {nodes[id].text, nodes[id].length}; }
  /// Elements of lists, tuples, sets and sizes; keys and values of dictionaries in turn.
  std::span<const PickleId> parts(PickleId id) const;
  const PickleGlobal& global(PickleId id) const { return globals[nodes[id].index]; }
  bool is_global(PickleId id, PickleFunction function) const {
    return is(id, PickleKind::global) && global(id).function == function;
  }
  /// What texts call a node ("a tuple", "the global torch.Size"), made only when it is printed.
  struct Description {
    const PickleGraph& graph;
    PickleId id;
    friend std::ostream& operator<<(std::ostream& out, const Description& description);
  };
  Description describe(PickleId id) const { return {*this, id}; }
  const std::string& name() const { return name_; }

  /// @throws CheckpointError with the name of the pickle in front
  template <class... Text>
  void require(bool condition, const Text&... text) const {
    FABRIC_CHECK(Checkpoint, condition, "[fabric.load] ", name_, ": ", text...);
  }

  std::vector<PickleNode> nodes;
  std::vector<PickleId> tuples;  // elements of all of them
  std::vector<std::vector<PickleId>> containers;
  std::vector<std::complex<double>> complexes;
  std::vector<c10::Device> devices;
  std::vector<PickleGlobal> globals;
  std::vector<PickleInstance> instances;
  std::vector<PickleStorageNode> storages;
  std::unordered_map<std::string, std::size_t> storage_of_key;
  std::vector<StoredTensor> tensors;

 private:
  std::string name_;
};

}  // namespace fabric::detail
