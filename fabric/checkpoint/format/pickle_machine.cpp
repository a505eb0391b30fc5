#include <fabric/checkpoint/format/pickle_machine.h>

#include <algorithm>
#include <bit>
#include <limits>

#include <fabric/checkpoint/format/pickle_calls.h>
#include <fabric/checkpoint/format/utf8.h>

namespace fabric::detail {
namespace {

constexpr PickleId kForgotten = std::numeric_limits<PickleId>::max();

// Length of a pickle: nodes are numbered in 32 bits, and each takes a byte of it at least.
constexpr std::size_t kMostBytes = std::size_t{1} << 30;

}  // namespace

PickleMachine::PickleMachine(std::string_view pickle, PickleGraph& graph,
                             const PickleReaderOptions& options)
    : pickle_(pickle), graph_(graph), options_(options) {
  graph_.require(pickle.size() <= kMostBytes, "is larger than pickles of states are; got ",
                 pickle.size(), " bytes; expected at most ", kMostBytes);
}

PickleId PickleMachine::run() {
  require(take_unsigned(1) == static_cast<std::uint64_t>(PickleOp::proto), "is no pickle");
  const std::uint64_t protocol = take_unsigned(1);
  require(protocol >= 2 && protocol <= 5, "is a pickle of protocol ", protocol,
          "; expected 2 to 5");
  do {
    begin_ = next_;
  } while (step(static_cast<PickleOp>(take_unsigned(1))));
  require(stack_.size() == 1 && marks_.empty(), "leaves ", stack_.size(), " values; expected one");
  require(next_ == pickle_.size(), "has bytes behind its end");
  return stack_.front();
}

// ---- the pickle's bytes -------------------------------------------------------------------------

std::string_view PickleMachine::take(std::uint64_t count) {
  require(count <= pickle_.size() - next_, "is cut off or damaged; got ", pickle_.size() - next_,
          " bytes more; expected ", count);
  const std::string_view bytes = pickle_.substr(next_, static_cast<std::size_t>(count));
  next_ += static_cast<std::size_t>(count);
  return bytes;
}

std::uint64_t PickleMachine::take_unsigned(int bytes) {
  const std::string_view taken = take(static_cast<std::uint64_t>(bytes));
  std::uint64_t value = 0;
  for (int i = bytes - 1; i >= 0; --i) {
    value = value << 8 | static_cast<unsigned char>(taken[static_cast<std::size_t>(i)]);
  }
  return value;
}

std::string_view PickleMachine::take_line() {
  const std::size_t end = pickle_.find('\n', next_);
  require(end != std::string_view::npos, "is cut off or damaged: a name without an end");
  const std::string_view line = take(end - next_);
  ++next_;
  return line;
}

std::string_view PickleMachine::take_text(std::uint64_t count) {
  const std::string_view text = take(count);
  require(is_python_text(text), "is damaged: a text is no UTF-8");
  return text;
}

// ---- the stack ----------------------------------------------------------------------------------

PickleId& PickleMachine::top() {
  require(stack_.size() > (marks_.empty() ? 0 : marks_.back()), "is damaged: a value is missing");
  return stack_.back();
}

PickleId PickleMachine::pop() {
  const PickleId id = top();
  stack_.pop_back();
  return id;
}

std::span<const PickleId> PickleMachine::above_mark() const {
  require(!marks_.empty(), "is damaged: a mark is missing");
  return std::span(stack_).subspan(marks_.back());
}

void PickleMachine::drop_to_mark() {
  stack_.resize(marks_.back());
  marks_.pop_back();
}

PickleId PickleMachine::remembered(std::uint64_t index) const {
  require(index < memo_.size() && memo_[index] != kForgotten,
          "is damaged: it refers to a value that it does not have");
  return memo_[index];
}

void PickleMachine::remember(std::uint64_t index) {
  // Python numbers them one by one, so there are not more of them than instructions.
  require(index < pickle_.size(), "is damaged: a value has the number ", index);
  if (index >= memo_.size()) {
    memo_.resize(std::max<std::size_t>(index + 1, std::min(2 * memo_.size(), pickle_.size())),
                 kForgotten);
  }
  memo_size_ += memo_[index] == kForgotten ? 1 : 0;
  memo_[index] = top();
}

// ---- instructions -------------------------------------------------------------------------------

bool PickleMachine::step(PickleOp op) {
  switch (op) {
    case PickleOp::stop:
      return false;
    case PickleOp::frame:  // says where a reader may stop for more; all is here
      require(take_unsigned(8) <= pickle_.size() - next_, "is cut off or damaged: a frame ends "
              "behind it");
      break;
    case PickleOp::mark:
      marks_.push_back(stack_.size());
      break;
    case PickleOp::none:
      push(0);
      break;
    case PickleOp::newtrue:
    case PickleOp::newfalse:
      push(graph_.add_integer(op == PickleOp::newtrue ? 1 : 0, PickleKind::boolean));
      break;
    case PickleOp::binint:
      push(graph_.add_integer(static_cast<std::int32_t>(take_unsigned(4))));
      break;
    case PickleOp::binint1:
      push(graph_.add_integer(static_cast<std::int64_t>(take_unsigned(1))));
      break;
    case PickleOp::binint2:
      push(graph_.add_integer(static_cast<std::int64_t>(take_unsigned(2))));
      break;
    case PickleOp::binunicode:
      push(graph_.add_text(PickleKind::text, take_text(take_unsigned(4))));
      break;
    case PickleOp::short_binunicode:
      push(graph_.add_text(PickleKind::text, take_text(take_unsigned(1))));
      break;
    case PickleOp::empty_list:
      push(graph_.add_container(PickleKind::list));
      break;
    case PickleOp::empty_dict:
      push(graph_.add_container(PickleKind::dict));
      break;
    case PickleOp::empty_tuple:
      push_tuple(0);
      break;
    case PickleOp::tuple1:
      push_tuple(1);
      break;
    case PickleOp::tuple2:
      push_tuple(2);
      break;
    case PickleOp::tuple3:
      push_tuple(3);
      break;
    case PickleOp::tuple: {
      const PickleId id = graph_.add_tuple(above_mark());
      drop_to_mark();
      push(id);
      break;
    }
    case PickleOp::append: {
      const PickleId value = pop();
      extend({&value, 1}, PickleKind::list, false);
      break;
    }
    case PickleOp::setitem: {
      const PickleId value = pop();
      const PickleId key = pop();
      const PickleId pair[] = {key, value};
      extend(pair, PickleKind::dict, true);
      break;
    }
    case PickleOp::binget:
      push(remembered(take_unsigned(1)));
      break;
    case PickleOp::long_binget:
      push(remembered(take_unsigned(4)));
      break;
    case PickleOp::binput:
      remember(take_unsigned(1));
      break;
    case PickleOp::long_binput:
      remember(take_unsigned(4));
      break;
    case PickleOp::memoize:
      remember(memo_size_);
      break;
    case PickleOp::reduce: {
      const PickleId arguments = pop();
      call(pop(), arguments);
      break;
    }
    case PickleOp::binpersid:
      load_persistent();
      break;
    default:
      step_more(op);
  }
  return true;
}

// The instructions that states have less often.
void PickleMachine::step_more(PickleOp op) {
  switch (op) {
    case PickleOp::pop:
      pop();
      break;
    case PickleOp::pop_mark:
      above_mark();
      drop_to_mark();
      break;
    case PickleOp::long1:
      push_long(take_unsigned(1));
      break;
    case PickleOp::long4:
      push_long(take_unsigned(4));
      break;
    case PickleOp::binfloat: {
      std::uint64_t bits = 0;
      for (const char byte : take(8)) {
        bits = bits << 8 | static_cast<unsigned char>(byte);
      }
      push(graph_.add_real(std::bit_cast<double>(bits)));
      break;
    }
    case PickleOp::binunicode8:
      push(graph_.add_text(PickleKind::text, take_text(take_unsigned(8))));
      break;
    case PickleOp::short_binbytes:
      push(graph_.add_text(PickleKind::bytes, take(take_unsigned(1))));
      break;
    case PickleOp::binbytes:
      push(graph_.add_text(PickleKind::bytes, take(take_unsigned(4))));
      break;
    case PickleOp::binbytes8:
    case PickleOp::bytearray8:
      push(graph_.add_text(PickleKind::bytes, take(take_unsigned(8))));
      break;
    case PickleOp::empty_set:
      push(graph_.add_container(PickleKind::set));
      break;
    case PickleOp::frozenset: {
      const std::span<const PickleId> elements = above_mark();
      graph_.containers.emplace_back(elements.begin(), elements.end());
      drop_to_mark();
      push(graph_.add_indexed(PickleKind::frozenset, graph_.containers.size() - 1));
      break;
    }
    case PickleOp::appends:
    case PickleOp::additems:
    case PickleOp::setitems: {
      const std::span<const PickleId> marked = above_mark();
      const std::vector<PickleId> values(marked.begin(), marked.end());
      drop_to_mark();
      extend(values,
             op == PickleOp::appends    ? PickleKind::list
             : op == PickleOp::additems ? PickleKind::set
                                        : PickleKind::dict,
             op == PickleOp::setitems);
      break;
    }
    case PickleOp::global: {
      const std::string_view module = take_line();
      push_global(module, take_line());
      break;
    }
    case PickleOp::stack_global: {
      const PickleId name = pop();
      const PickleId module = pop();
      require(graph_.is(name, PickleKind::text) && graph_.is(module, PickleKind::text),
              "is damaged: the name of a global is no text");
      push_global(graph_.text(module), graph_.text(name));
      break;
    }
    case PickleOp::newobj:
    case PickleOp::newobj_ex:
      if (op == PickleOp::newobj_ex) {
        require(graph_.parts(pop()).empty(), "makes an object with named arguments; expected none");
      }
      make_object();
      break;
    case PickleOp::build:
      build();
      break;
    default:
      require(false, "has the instruction ", static_cast<int>(op),
              ", which Python does not write with protocols 2 to 5");
  }
}

void PickleMachine::push_long(std::uint64_t count) {
  const std::string_view bytes = take(count);
  if (bytes.size() > 8) {
    push(graph_.add_text(PickleKind::big_integer, bytes));
    return;
  }
  const bool negative = !bytes.empty() && (bytes.back() & 0x80) != 0;
  std::uint64_t value = negative ? ~std::uint64_t{0} : 0;
  for (std::size_t i = bytes.size(); i-- > 0;) {
    value = value << 8 | static_cast<unsigned char>(bytes[i]);
  }
  push(graph_.add_integer(static_cast<std::int64_t>(value)));
}

void PickleMachine::push_tuple(std::size_t count) {
  require(stack_.size() - (marks_.empty() ? 0 : marks_.back()) >= count,
          "is damaged: a tuple lacks values");
  const PickleId id = graph_.add_tuple(std::span(stack_).last(count));
  stack_.resize(stack_.size() - count);
  push(id);
}

void PickleMachine::push_global(std::string_view module, std::string_view name) {
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
  require(refused.empty(), "holds ", refused, ", which a state cannot hold; got ", full,
          ". Hint: save what to_dense(), dequantize() or full_tensor() gives");
  require(global.has_value(), "names '", full,
          "', which nothing may run or make; expected tensors, numbers, texts and containers of "
          "them. Hint: save state dictionaries, not objects");
  graph_.globals.push_back(*std::move(global));
  push(graph_.add_indexed(PickleKind::global, graph_.globals.size() - 1));
}

void PickleMachine::extend(std::span<const PickleId> values, PickleKind kind, bool pairs) {
  const PickleId target = top();
  require(graph_.is(target, kind) ||
              (pairs && graph_.is(target, PickleKind::ordered_dict)),
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
