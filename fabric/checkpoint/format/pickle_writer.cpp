#include <fabric/checkpoint/format/pickle_writer.h>

#include <algorithm>
#include <limits>
#include <unordered_set>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/pickle_output.h>
#include <fabric/checkpoint/format/pickle_reader.h>
#include <fabric/checkpoint/format/state_path.h>
#include <fabric/checkpoint/format/torch_dtypes.h>
#include <fabric/checkpoint/format/utf8.h>

namespace fabric::detail {
namespace {

// Values a call of SETITEMS or APPENDS takes, as Python batches them.
constexpr std::size_t kBatch = 1000;

// weights_only knows no instruction for longer ones.
constexpr std::size_t kMostIntegerBytes = 255;

class PickleWriter {
 public:
  explicit PickleWriter(const StoragePlan& plan) : plan_(plan) {}

  std::string finish(const StateValue& state) {
    write(state);
    std::string pickle = out_.finish();
    require(pickle.size() <= static_cast<std::size_t>(kMostPickleBytes),
            "its values besides tensors take ", pickle.size(), " bytes; expected at most ",
            kMostPickleBytes);
    return pickle;
  }

 private:
  template <class... Text>
  void require(bool condition, const Text&... text) const {
    FABRIC_CHECK(Checkpoint, condition, "[fabric.save] ", path_, " cannot be saved: ", text...);
  }

  void write(const StateValue& value) {
    std::visit([this](const auto& held) { write(held); }, value.variant());
  }
  void write(std::monostate) { out_.put(PickleOp::none); }
  void write(bool value) { out_.put(value ? PickleOp::newtrue : PickleOp::newfalse); }
  void write(std::int64_t value) { out_.put_integer(value); }
  void write(double value) { out_.put_real(value); }
  void write(const std::complex<double>& value);
  void write(const std::string& value);
  void write(const BigInteger& value);
  void write(const Bytes& value);
  void write(const StoredTensor& tensor);
  void write(const StateList& list);
  void write(const StateDict& dict);
  void write(c10::ScalarType dtype);
  void write(c10::Device device);
  void write_elements(const StateList& list);
  void write_set(const StateList& list);
  void write_tuple(const StateList& list);
  void write_rebuilt(const StoredTensor& tensor, const TorchDtype& dtype, bool requires_grad);
  void write_ordered_dict();
  void check_length(std::size_t bytes) const;
  void check_depth() const;

  const StoragePlan& plan_;
  std::size_t next_tensor_ = 0;
  PickleOutput out_;
  StatePath path_;
};

// ---- numbers and texts --------------------------------------------------------------------------

void PickleWriter::write(const BigInteger& value) {
  require(value.bytes.size() <= kMostIntegerBytes, "an integer of ", value.bytes.size(),
          " bytes; expected at most ", kMostIntegerBytes);
  out_.put_long(value.bytes);
}

void PickleWriter::write(const std::complex<double>& value) {
  out_.put_global("builtins", "complex");
  write(value.real());
  write(value.imag());
  out_.end_tuple(2);
  out_.put(PickleOp::reduce);
}

void PickleWriter::check_length(std::size_t bytes) const {
  require(bytes <= std::numeric_limits<std::uint32_t>::max(), "a text of ", bytes,
          " bytes; expected at most 4 GiB");
}

void PickleWriter::write(const std::string& value) {
  check_length(value.size());
  require(is_python_text(value), "a text that is no UTF-8. Hint: raw bytes are a fabric::Bytes.");
  out_.put_text(value);
}

// Protocol 2 has no bytes: they are what encoding a text gives.
void PickleWriter::write(const Bytes& value) {
  const std::string text = latin1_to_utf8(value.data);
  check_length(text.size());
  out_.put_global("_codecs", "encode");
  out_.put_new_text(text);
  out_.put_text("latin1");
  out_.end_tuple(2);
  out_.put(PickleOp::reduce);
}

// ---- containers ---------------------------------------------------------------------------------

void PickleWriter::check_depth() const {
  require(path_.steps.size() < static_cast<std::size_t>(PickleReaderOptions().max_depth),
          "values nested too deep");
}

// Appends all to the list that was written last.
void PickleWriter::write_elements(const StateList& list) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (i % kBatch == 0) {
      out_.put(PickleOp::mark);
    }
    path_.push(i);
    write(list[i]);
    path_.pop();
    if (i % kBatch == kBatch - 1 || i + 1 == list.size()) {
      out_.put(PickleOp::appends);
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

void PickleWriter::write_set(const StateList& list) {
  require(std::all_of(list.begin(), list.end(), can_be_hashed),
          "a set with a list, set or dictionary in it, which Python does not have");
  out_.put_global("builtins", "set");
  out_.put(PickleOp::empty_list);
  write_elements(list);
  out_.put(PickleOp::tuple1);
  out_.put(PickleOp::reduce);
}

void PickleWriter::write_tuple(const StateList& list) {
  if (list.size() > 3) {
    out_.put(PickleOp::mark);
  }
  for (std::size_t i = 0; i < list.size(); ++i) {
    path_.push(i);
    write(list[i]);
    path_.pop();
  }
  out_.end_tuple(list.size());
}

void PickleWriter::write(const StateList& list) {
  check_depth();
  switch (list.kind()) {
    case StateList::Kind::list:
      out_.put(PickleOp::empty_list);
      write_elements(list);
      break;
    case StateList::Kind::tuple:
      write_tuple(list);
      break;
    case StateList::Kind::set:
      write_set(list);
      break;
    case StateList::Kind::frozenset:
      require(false, "a frozenset, which torch.load(weights_only=True) refuses; expected a set, ",
              "list or tuple");
      break;
    case StateList::Kind::size:
      for (const StateValue& element : list) {
        require(element.is_integer(), "a torch.Size with ", Described{element},
                "; expected integers");
      }
      out_.put_global("torch", "Size");
      write_tuple(list);
      out_.put(PickleOp::tuple1);
      out_.put(PickleOp::reduce);
      break;
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

void PickleWriter::write(const StateDict& dict) {
  check_depth();
  if (dict.ordered) {
    write_ordered_dict();
  } else {
    out_.put(PickleOp::empty_dict);
  }
  std::unordered_set<std::string_view> texts;
  std::unordered_set<std::int64_t> integers;
  std::size_t i = 0;
  for (const auto& [key, value] : dict) {
    path_.push(key);
    require(can_be_key(key), "the key ", Described{key},
            "; expected a text, number, bool, None or a tuple of those");
    const auto* integer = std::get_if<std::int64_t>(&key.variant());
    const bool fresh = key.is_string()      ? texts.insert(key.string()).second
                       : integer != nullptr ? integers.insert(*integer).second
                                            : true;
    require(fresh, "there are two values with this key");
    if (i % kBatch == 0) {
      out_.put(PickleOp::mark);
    }
    write(key);
    write(value);
    path_.pop();
    if (i % kBatch == kBatch - 1 || i + 1 == dict.size()) {
      out_.put(PickleOp::setitems);
    }
    ++i;
  }
}

// ---- PyTorch ------------------------------------------------------------------------------------

void PickleWriter::write(c10::ScalarType dtype) {
  const TorchDtype* known = find_torch_dtype(dtype);
  require(known != nullptr, "the dtype ", c10::toString(dtype), ", which Python does not have");
  out_.put_global("torch", known->name);
}

void PickleWriter::write(c10::Device device) {
  out_.put_global("torch", "device");
  out_.put_new_text(c10::DeviceTypeName(device.type(), /*lower_case=*/true));
  if (device.has_index()) {
    write(static_cast<std::int64_t>(device.index()));
  }
  out_.end_tuple(device.has_index() ? 2 : 1);
  out_.put(PickleOp::reduce);
}

void PickleWriter::write(const StoredTensor& tensor) {
  const TorchDtype* dtype = find_torch_dtype(tensor.dtype());
  require(dtype != nullptr && dtype->dense, "a tensor of dtype ", c10::toString(tensor.dtype()),
          ", which torch.load has no tensors of");
  const bool requires_grad = tensor.requires_grad && (c10::isFloatingType(tensor.dtype()) ||
                                                      c10::isComplexType(tensor.dtype()));
  // PyTorch cannot load the tensors of later dtypes that require grad, which it saves; as
  // parameters it can.
  const bool parameter = requires_grad && dtype->storage.empty();
  if (parameter) {
    out_.put_global("torch._utils", "_rebuild_parameter");
  }
  write_rebuilt(tensor, *dtype, requires_grad && !parameter);
  if (parameter) {
    out_.put(PickleOp::newtrue);
    write_ordered_dict();
    out_.put(PickleOp::tuple3);
    out_.put(PickleOp::reduce);
  }
}

// The call that makes a tensor of its storage.
void PickleWriter::write_rebuilt(const StoredTensor& tensor, const TorchDtype& dtype,
                                 bool requires_grad) {
  const StoredPlace& place = plan_.places[next_tensor_++];
  const std::int64_t nbytes = plan_.storages[place.storage].size;
  const bool typed = !dtype.storage.empty();
  out_.put_global("torch._utils", typed ? "_rebuild_tensor_v2" : "_rebuild_tensor_v3");
  out_.put(PickleOp::mark);
  out_.put(PickleOp::mark);  // the storage: a reference to something outside
  out_.put_text("storage");
  if (typed) {
    out_.put_global("torch", dtype.storage);
  } else {
    out_.put_global("torch.storage", "UntypedStorage");
  }
  out_.put_new_text(std::to_string(place.storage));
  out_.put_text("cpu");
  write(typed ? nbytes / static_cast<std::int64_t>(c10::elementSize(dtype.dtype)) : nbytes);
  out_.put(PickleOp::tuple);
  out_.put(PickleOp::binpersid);
  write(place.offset);
  out_.put_tuple(tensor.sizes());
  out_.put_tuple(place.strides);
  write(requires_grad);
  write_ordered_dict();
  if (!typed) {
    out_.put_global("torch", dtype.name);
  }
  out_.put(PickleOp::tuple);
  out_.put(PickleOp::reduce);
}

void PickleWriter::write_ordered_dict() {
  out_.put_global("collections", "OrderedDict");
  out_.put(PickleOp::empty_tuple);
  out_.put(PickleOp::reduce);
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
