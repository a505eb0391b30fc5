// Runs the instructions of a pickle on a stack, as Python's Unpickler does, into a graph.
#pragma once

#include <string_view>
#include <vector>

#include <fabric/checkpoint/format/pickle_graph.h>
#include <fabric/checkpoint/format/pickle_opcodes.h>
#include <fabric/checkpoint/format/pickle_reader.h>

namespace fabric::detail {

class PickleMachine {
 public:
  /// Nodes refer to the text of the pickle, which has to outlive the graph.
  PickleMachine(std::string_view pickle, PickleGraph& graph, const PickleReaderOptions& options);

  /// The node of the whole pickle.
  /// @throws CheckpointError for a pickle that is cut off or damaged, and for what it may not name
  PickleId run();

 private:
  // The pickle's bytes.
  std::string_view take(std::uint64_t count);
  std::uint64_t take_unsigned(int bytes);
  std::string_view take_line();
  std::string_view take_text(std::uint64_t count);
  // The stack. What lies below the last mark is out of reach.
  void push(PickleId id) { stack_.push_back(id); }
  PickleId pop();
  PickleId& top();
  std::span<const PickleId> above_mark() const;
  void drop_to_mark();
  PickleId remembered(std::uint64_t index) const;
  void remember(std::uint64_t index);
  // Instructions.
  bool step(PickleOp op);  // false: that was the last one
  void step_more(PickleOp op);
  void push_long(std::uint64_t count);
  void push_tuple(std::size_t count);
  void push_tuple_above_mark();
  void push_global(std::string_view module, std::string_view name);
  void extend(std::span<const PickleId> values, PickleKind kind, bool pairs);
  void call(PickleId function, PickleId arguments);
  void make_object();
  void build();
  void load_persistent();

  /// With the position of the instruction.
  template <class... Text>
  void require(bool condition, const Text&... text) const {
    graph_.require(condition, text..., Position{begin_});
  }
  struct Position {
    std::size_t begin;
    friend std::ostream& operator<<(std::ostream& out, const Position& position) {
      return out << " (at byte " << position.begin << " of the pickle)";
    }
  };

  std::string_view pickle_;
  PickleGraph& graph_;
  const PickleReaderOptions& options_;
  std::size_t next_ = 0;   // byte to read
  std::size_t begin_ = 0;  // of the instruction
  std::vector<PickleId> stack_;
  std::vector<std::size_t> marks_;
  std::vector<PickleId> memo_;
  std::size_t memo_size_ = 0;
};

}  // namespace fabric::detail
