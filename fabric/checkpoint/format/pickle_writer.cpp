#include <fabric/checkpoint/format/pickle_writer.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <unordered_map>
#include <unordered_set>

#include <fabric/checkpoint/format/little_endian.h>
#include <fabric/checkpoint/format/pickle_opcodes.h>
#include <fabric/checkpoint/format/pickle_reader.h>
#include <fabric/checkpoint/format/torch_dtypes.h>
#include <fabric/checkpoint/format/utf8.h>

namespace fabric::detail {
namespace {

// Values a call of SETITEMS or APPENDS takes, as Python batches them.
constexpr std::size_t kBatch = 1000;

// weights_only knows no instruction for longer ones.
constexpr std::size_t kMostIntegerBytes = 255;

// The way to a value, as texts show it: state['optimizer']['state'][3].
struct Path {
  struct Step {
    const StateValue* key = nullptr;
    std::size_t index = 0;
  };

  void push(const StateValue& key) { steps.push_back({&key, 0}); }
  void push(std::size_t index) { steps.push_back({nullptr, index}); }
  void pop() { steps.pop_back(); }

  friend std::ostream& operator<<(std::ostream& out, const Path& path) {
    out << "state";
    for (const Step& step : path.steps) {
      if (step.key == nullptr) {
        out << '[' << step.index << ']';
      } else if (step.key->is_string()) {
        out << "['" << step.key->string() << "']";
      } else {
        out << '[' << step.key->description() << ']';
      }
    }
    return out;
  }

  std::vector<Step> steps;
};

class PickleWriter {
 public:
  explicit PickleWriter(const StoragePlan& plan) : plan_(plan) {
    put(PickleOp::proto);
    out_.push_back(2);
  }

  std::string finish(const StateValue& state) {
    write(state);
    put(PickleOp::stop);
    return std::move(out_);
  }

 private:
  template <class... Text>
  void require(bool condition, const Text&... text) const {
    FABRIC_CHECK(Checkpoint, condition, "[fabric.save] ", path_, " cannot be saved: ", text...);
  }
  void put(PickleOp op) { out_.push_back(static_cast<char>(op)); }
  void write(const StateValue& value) {
    std::visit([this](const auto& held) { write(held); }, value.variant());
  }
  void write(std::monostate) { put(PickleOp::none); }
  void write(bool value) { put(value ? PickleOp::newtrue : PickleOp::newfalse); }
  void write(std::int64_t value);
  void write(double value);
  void write(const std::complex<double>& value);
  void write(const std::string& value) { write_text(value); }
  void write(const BigInteger& value);
  void write(const Bytes& value);
  void write(const StoredTensor& tensor);
  void write(const StateList& list);
  void write(const StateDict& dict);
  void write(c10::ScalarType dtype);
  void write(c10::Device device);
  void write_long(std::string_view bytes);
  void write_text(std::string_view text);
  void write_new_text(std::string_view text);
  void write_global(std::string_view module, std::string_view name);
  void write_tuple(at::IntArrayRef values);
  void write_rebuilt(const StoredTensor& tensor, const TorchDtype& dtype, bool requires_grad);
  void write_no_hooks();
  void end_tuple(std::size_t count);
  void write_items(const StateList& list, PickleOp add);
  void write_key(const StateValue& key);

  using Memo = std::unordered_map<std::string_view, std::uint32_t>;
  bool recall(const Memo& memo, std::string_view text);
  void remember(Memo& memo, std::string_view text);

  const StoragePlan& plan_;
  std::size_t next_tensor_ = 0;
  std::string out_;
  Memo texts_;    // that are in the state
  Memo globals_;  // by their names, which differ without their modules too
  Path path_;
};

// ---- numbers and texts --------------------------------------------------------------------------

void PickleWriter::write(std::int64_t value) {
  if (value >= 0 && value <= 0xff) {
    put(PickleOp::binint1);
    out_.push_back(static_cast<char>(value));
  } else if (value >= 0 && value <= 0xffff) {
    put(PickleOp::binint2);
    append_little_endian(out_, static_cast<std::uint16_t>(value));
  } else if (value >= std::numeric_limits<std::int32_t>::min() &&
             value <= std::numeric_limits<std::int32_t>::max()) {
    put(PickleOp::binint);
    append_little_endian(out_, static_cast<std::uint32_t>(value));
  } else {
    std::string bytes;
    append_little_endian(bytes, static_cast<std::uint64_t>(value));
    write_long(bytes);
  }
}

void PickleWriter::write(const BigInteger& value) {
  require(value.bytes.size() <= kMostIntegerBytes, "an integer of ", value.bytes.size(),
          " bytes; expected at most ", kMostIntegerBytes);
  write_long(value.bytes);
}

void PickleWriter::write_long(std::string_view bytes) {
  put(PickleOp::long1);
  out_.push_back(static_cast<char>(bytes.size()));
  out_ += bytes;
}

void PickleWriter::write(double value) {
  put(PickleOp::binfloat);
  const auto bits = std::bit_cast<std::uint64_t>(value);
  for (int shift = 56; shift >= 0; shift -= 8) {
    out_.push_back(static_cast<char>(bits >> shift & 0xff));
  }
}

void PickleWriter::write(const std::complex<double>& value) {
  write_global("builtins", "complex");
  write(value.real());
  write(value.imag());
  end_tuple(2);
  put(PickleOp::reduce);
}

bool PickleWriter::recall(const Memo& memo, std::string_view text) {
  const auto known = memo.find(text);
  if (known == memo.end()) {
    return false;
  }
  if (known->second <= 0xff) {
    put(PickleOp::binget);
    out_.push_back(static_cast<char>(known->second));
  } else {
    put(PickleOp::long_binget);
    append_little_endian(out_, known->second);
  }
  return true;
}

// `text` has to last until the pickle is complete.
void PickleWriter::remember(Memo& memo, std::string_view text) {
  const auto index = static_cast<std::uint32_t>(texts_.size() + globals_.size());
  if (index <= 0xff) {
    put(PickleOp::binput);
    out_.push_back(static_cast<char>(index));
  } else {
    put(PickleOp::long_binput);
    append_little_endian(out_, index);
  }
  memo.emplace(text, index);
}

void PickleWriter::write_text(std::string_view text) {
  if (!recall(texts_, text)) {
    write_new_text(text);
    remember(texts_, text);
  }
}

void PickleWriter::write_new_text(std::string_view text) {
  require(text.size() <= std::numeric_limits<std::uint32_t>::max(), "a text of ", text.size(),
          " bytes; expected at most 4 GiB");
  require(is_python_text(text), "a text that is no UTF-8. Hint: raw bytes are a fabric::Bytes.");
  put(PickleOp::binunicode);
  append_little_endian(out_, static_cast<std::uint32_t>(text.size()));
  out_ += text;
}

// Protocol 2 has no bytes: they are what encoding a text gives.
void PickleWriter::write(const Bytes& value) {
  write_global("_codecs", "encode");
  write_new_text(latin1_to_utf8(value.data));
  write_text("latin1");
  end_tuple(2);
  put(PickleOp::reduce);
}

void PickleWriter::write_global(std::string_view module, std::string_view name) {
  if (recall(globals_, name)) {
    return;
  }
  put(PickleOp::global);
  out_ += module;
  out_ += '\n';
  out_ += name;
  out_ += '\n';
  remember(globals_, name);
}

// ---- containers ---------------------------------------------------------------------------------

void PickleWriter::end_tuple(std::size_t count) {
  constexpr PickleOp kShort[] = {PickleOp::empty_tuple, PickleOp::tuple1, PickleOp::tuple2,
                                 PickleOp::tuple3};
  put(count < 4 ? kShort[count] : PickleOp::tuple);
}

void PickleWriter::write_tuple(at::IntArrayRef values) {
  if (values.size() > 3) {
    put(PickleOp::mark);
  }
  for (const std::int64_t value : values) {
    write(value);
  }
  end_tuple(values.size());
}

void PickleWriter::write_items(const StateList& list, PickleOp add) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (i % kBatch == 0) {
      put(PickleOp::mark);
    }
    path_.push(i);
    write(list[i]);
    path_.pop();
    if (i % kBatch == kBatch - 1 || i + 1 == list.size()) {
      put(add);
    }
  }
}

bool can_be_hashed(const StateValue& value) {
  if (value.is_list()) {
    const StateList::Kind kind = value.list().kind();
    return (kind == StateList::Kind::tuple || kind == StateList::Kind::size) &&
           std::all_of(value.list().begin(), value.list().end(), can_be_hashed);
  }
  return !value.is_dict();
}

void PickleWriter::write(const StateList& list) {
  require(path_.steps.size() < static_cast<std::size_t>(PickleReaderOptions().max_depth),
          "values nested too deep");
  switch (list.kind()) {
    case StateList::Kind::list:
      put(PickleOp::empty_list);
      write_items(list, PickleOp::appends);
      return;
    case StateList::Kind::size:
      write_global("torch", "Size");
      for (const StateValue& element : list) {
        require(element.is_integer(), "a torch.Size with ", element.description(),
                "; expected integers");
      }
      break;
    case StateList::Kind::tuple:
      break;
    case StateList::Kind::set:
      require(std::all_of(list.begin(), list.end(), can_be_hashed),
              "a set with a list, set or dictionary in it, which Python does not have");
      write_global("builtins", "set");
      put(PickleOp::empty_list);
      write_items(list, PickleOp::appends);
      put(PickleOp::tuple1);
      put(PickleOp::reduce);
      return;
    case StateList::Kind::frozenset:
      require(false, "a frozenset, which torch.load(weights_only=True) refuses; expected a set, ",
              "list or tuple");
  }
  if (list.size() > 3) {
    put(PickleOp::mark);
  }
  for (std::size_t i = 0; i < list.size(); ++i) {
    path_.push(i);
    write(list[i]);
    path_.pop();
  }
  end_tuple(list.size());
  if (list.kind() == StateList::Kind::size) {
    put(PickleOp::tuple1);
    put(PickleOp::reduce);
  }
}

bool can_be_key(const StateValue& key) {
  if (key.is_list()) {
    return key.list().kind() == StateList::Kind::tuple &&
           std::all_of(key.list().begin(), key.list().end(), can_be_key);
  }
  return key.is_none() || key.is_bool() || key.is_integer() || key.is_real() || key.is_string() ||
         std::holds_alternative<BigInteger>(key.variant());
}

void PickleWriter::write_key(const StateValue& key) {
  require(can_be_key(key), "the key ", key.description(),
          "; expected a text, number, bool, None or a tuple of those");
  write(key);
}

void PickleWriter::write(const StateDict& dict) {
  require(path_.steps.size() < static_cast<std::size_t>(PickleReaderOptions().max_depth),
          "values nested too deep");
  if (dict.ordered) {
    write_global("collections", "OrderedDict");
    put(PickleOp::empty_tuple);
    put(PickleOp::reduce);
  } else {
    put(PickleOp::empty_dict);
  }
  std::unordered_set<std::string_view> texts;
  std::unordered_set<std::int64_t> integers;
  std::size_t i = 0;
  for (const auto& [key, value] : dict) {
    const bool fresh = key.is_string()    ? texts.insert(key.string()).second
                       : key.is_integer() ? integers.insert(std::get<std::int64_t>(key.variant())).second
                                          : true;
    require(fresh, "two values with the key ", key.description());
    if (i % kBatch == 0) {
      put(PickleOp::mark);
    }
    path_.push(key);
    write_key(key);
    write(value);
    path_.pop();
    if (i % kBatch == kBatch - 1 || i + 1 == dict.size()) {
      put(PickleOp::setitems);
    }
    ++i;
  }
}

// ---- PyTorch ------------------------------------------------------------------------------------

void PickleWriter::write(c10::ScalarType dtype) {
  const TorchDtype* known = find_torch_dtype(dtype);
  require(known != nullptr, "the dtype ", c10::toString(dtype), ", which Python does not have");
  write_global("torch", known->name);
}

void PickleWriter::write(c10::Device device) {
  write_global("torch", "device");
  write_new_text(c10::DeviceTypeName(device.type(), /*lower_case=*/true));
  if (device.has_index()) {
    write(static_cast<std::int64_t>(device.index()));
  }
  end_tuple(device.has_index() ? 2 : 1);
  put(PickleOp::reduce);
}

void PickleWriter::write(const StoredTensor& tensor) {
  const TorchDtype* dtype = find_torch_dtype(tensor.dtype());
  require(dtype != nullptr && dtype->dense, "a tensor of dtype ", c10::toString(tensor.dtype()),
          ", which torch.load has no tensors of");
  const bool requires_grad = tensor.requires_grad && (c10::isFloatingType(tensor.dtype()) ||
                                                      c10::isComplexType(tensor.dtype()));
  // PyTorch cannot load the tensors of later dtypes that require grad, which it saves; as parameters
  // it can.
  const bool parameter = requires_grad && dtype->storage.empty();
  if (parameter) {
    write_global("torch._utils", "_rebuild_parameter");
  }
  write_rebuilt(tensor, *dtype, requires_grad && !parameter);
  if (parameter) {
    put(PickleOp::newtrue);
    write_no_hooks();
    put(PickleOp::tuple3);
    put(PickleOp::reduce);
  }
}

// The call that makes a tensor of its storage.
void PickleWriter::write_rebuilt(const StoredTensor& tensor, const TorchDtype& dtype,
                                 bool requires_grad) {
  const StoredPlace& place = plan_.places[next_tensor_++];
  const std::int64_t nbytes = plan_.storages[place.storage].size;
  const bool typed = !dtype.storage.empty();
  write_global("torch._utils", typed ? "_rebuild_tensor_v2" : "_rebuild_tensor_v3");
  put(PickleOp::mark);
  put(PickleOp::mark);  // the storage: a reference to something outside
  write_text("storage");
  if (typed) {
    write_global("torch", dtype.storage);
  } else {
    write_global("torch.storage", "UntypedStorage");
  }
  write_new_text(std::to_string(place.storage));
  write_text("cpu");
  write(typed ? nbytes / static_cast<std::int64_t>(c10::elementSize(dtype.dtype)) : nbytes);
  put(PickleOp::tuple);
  put(PickleOp::binpersid);
  write(place.offset);
  write_tuple(tensor.sizes());
  write_tuple(place.strides);
  write(requires_grad);
  write_no_hooks();
  if (!typed) {
    write_global("torch", dtype.name);
  }
  put(PickleOp::tuple);
  put(PickleOp::reduce);
}

void PickleWriter::write_no_hooks() {
  write_global("collections", "OrderedDict");
  put(PickleOp::empty_tuple);
  put(PickleOp::reduce);
}

void collect_tensors(const StateValue& value, std::vector<StoredTensor>& tensors) {
  if (value.is_tensor()) {
    tensors.push_back(value.stored());
  } else if (value.is_list()) {
    for (const StateValue& element : value.list()) {
      collect_tensors(element, tensors);
    }
  } else if (value.is_dict()) {
    for (const auto& [key, element] : value.dict()) {
      collect_tensors(element, tensors);
    }
  }
}

}  // namespace

std::vector<StoredTensor> tensors_of(const StateValue& state) {
  std::vector<StoredTensor> tensors;
  collect_tensors(state, tensors);
  return tensors;
}

std::string write_pickle(const StateValue& state, const StoragePlan& plan) {
  return PickleWriter(plan).finish(state);
}

}  // namespace fabric::detail
