#include <fabric/checkpoint/state_value.h>

#include <algorithm>
#include <sstream>

#include <ATen/ATen.h>

#include <accelerators/text.h>

namespace fabric {

// ---- lists --------------------------------------------------------------------------------------

StateList::StateList(Kind kind) : kind_(kind) {}
StateList::StateList(std::initializer_list<StateValue> values, Kind kind)
    : kind_(kind), values_(values) {}
StateList::StateList(std::vector<StateValue> values, Kind kind)
    : kind_(kind), values_(std::move(values)) {}
StateList::StateList(const StateList&) = default;
StateList::StateList(StateList&&) noexcept = default;
StateList& StateList::operator=(const StateList&) = default;
StateList& StateList::operator=(StateList&&) noexcept = default;
StateList::~StateList() = default;

std::size_t StateList::size() const {
  return values_.size();
}
const StateValue& StateList::operator[](std::size_t index) const {
  return values_[index];
}
StateValue& StateList::operator[](std::size_t index) {
  return values_[index];
}
void StateList::push_back(StateValue value) {
  values_.push_back(std::move(value));
}
void StateList::reserve(std::size_t size) {
  values_.reserve(size);
}
const StateValue* StateList::begin() const {
  return values_.data();
}
const StateValue* StateList::end() const {
  return values_.data() + values_.size();
}
StateValue* StateList::begin() {
  return values_.data();
}
StateValue* StateList::end() {
  return values_.data() + values_.size();
}

// ---- dictionaries -------------------------------------------------------------------------------

StateDict::StateDict() = default;
StateDict::StateDict(std::initializer_list<Item> items) {
  for (const Item& item : items) {
    set(item.first, item.second);
  }
}
StateDict::StateDict(const StateDict&) = default;
StateDict::StateDict(StateDict&&) noexcept = default;
StateDict& StateDict::operator=(const StateDict&) = default;
StateDict& StateDict::operator=(StateDict&&) noexcept = default;
StateDict::~StateDict() = default;

namespace {

template <class Items, class Key>
auto* find_in(Items& items, const Key& key) {
  using Held = std::conditional_t<std::is_same_v<Key, std::string_view>, std::string, std::int64_t>;
  for (auto& item : items) {
    const Held* held = std::get_if<Held>(&item.first.variant());
    if (held != nullptr && *held == key) {
      return &item.second;
    }
  }
  return static_cast<decltype(&items.front().second)>(nullptr);
}

// Keys of a dictionary as texts show them, the first few.
std::string keys_of(const StateDict& dict) {
  constexpr std::size_t kShown = 12;
  std::ostringstream out;
  std::size_t shown = 0;
  for (const auto& [key, value] : dict) {
    if (shown == kShown) {
      out << " and " << dict.size() - shown << " more";
      break;
    }
    out << (shown++ == 0 ? "" : ", ");
    if (key.is_string()) {
      out << "'" << key.string() << "'";
    } else {
      out << key.description();
    }
  }
  return shown == 0 ? "none" : out.str();
}

}  // namespace

std::size_t StateDict::size() const {
  return items_.size();
}
const StateValue* StateDict::find(std::string_view key) const {
  return find_in(items_, key);
}
const StateValue* StateDict::find(std::int64_t key) const {
  return find_in(items_, key);
}
StateValue* StateDict::find(std::string_view key) {
  return find_in(items_, key);
}
StateValue* StateDict::find(std::int64_t key) {
  return find_in(items_, key);
}

const StateValue& StateDict::operator[](std::string_view key) const {
  const StateValue* value = find(key);
  FABRIC_CHECK(Checkpoint, value != nullptr, "[fabric.state] no key '", key, "'; there are ",
               keys_of(*this));
  return *value;
}

void StateDict::set(StateValue key, StateValue value) {
  StateValue* there = key.is_string()    ? find(key.string())
                      : key.is_integer() ? find(key.as<std::int64_t>())
                                         : nullptr;
  if (there != nullptr) {
    *there = std::move(value);
  } else {
    append(std::move(key), std::move(value));
  }
}

void StateDict::append(StateValue key, StateValue value) {
  items_.emplace_back(std::move(key), std::move(value));
}

void StateDict::erase(std::string_view key) {
  std::erase_if(items_, [key](const Item& item) {
    return item.first.is_string() && item.first.string() == key;
  });
}

const StateDict::Item* StateDict::begin() const {
  return items_.data();
}
const StateDict::Item* StateDict::end() const {
  return items_.data() + items_.size();
}
StateDict::Item* StateDict::begin() {
  return items_.data();
}
StateDict::Item* StateDict::end() {
  return items_.data() + items_.size();
}

// ---- values -------------------------------------------------------------------------------------

StateValue::StateValue(const at::Tensor& value) {
  if (value.defined()) {
    value_ = StoredTensor(value);
  }
}

StateValue::Variant StateValue::unsigned_integer(std::uint64_t value) {
  if (value <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    return static_cast<std::int64_t>(value);
  }
  BigInteger big;
  for (int byte = 0; byte < 8; ++byte) {
    big.bytes.push_back(static_cast<char>(value >> (8 * byte)));
  }
  big.bytes.push_back(0);  // the sign
  return big;
}

namespace {

struct Describe {
  std::string operator()(std::monostate) const { return "None"; }
  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(std::int64_t value) const { return std::to_string(value); }
  std::string operator()(double value) const { return detail::str(value); }
  std::string operator()(const std::complex<double>& value) const { return detail::str(value); }
  std::string operator()(const std::string& value) const {
    constexpr std::size_t kShown = 40;
    return detail::str("the text '", value.substr(0, kShown), value.size() > kShown ? "…'" : "'");
  }
  std::string operator()(const BigInteger& value) const {
    return detail::str("an integer of ", value.bytes.size(), " bytes");
  }
  std::string operator()(const Bytes& value) const {
    return detail::str(value.data.size(), " bytes");
  }
  std::string operator()(const StoredTensor& value) const {
    return detail::str("a tensor of shape ", value.sizes(), " and dtype ",
                       c10::toString(value.dtype()));
  }
  std::string operator()(const StateList& value) const {
    constexpr const char* kNames[] = {"list", "tuple", "set", "frozenset", "torch.Size"};
    return detail::str("a ", kNames[static_cast<int>(value.kind())], " of ", value.size(),
                       value.size() == 1 ? " value" : " values");
  }
  std::string operator()(const StateDict& value) const {
    return detail::str("a dictionary with the keys ", keys_of(value));
  }
  std::string operator()(c10::ScalarType value) const {
    return detail::str("the dtype ", c10::toString(value));
  }
  std::string operator()(c10::Device value) const { return detail::str("the device ", value); }
};

}  // namespace

std::string StateValue::description() const {
  return std::visit(Describe(), value_);
}

void StateValue::wrong_type(const char* expected) const {
  throw CheckpointError(detail::str("[fabric.state] got ", description(), "; expected ", expected));
}

std::int64_t StateValue::integer_between(std::int64_t least, std::uint64_t most) const {
  const std::int64_t value = get<std::int64_t>("an integer");
  FABRIC_CHECK(Checkpoint,
               value >= least && (value < 0 || static_cast<std::uint64_t>(value) <= most),
               "[fabric.state] got ", value, "; expected an integer from ", least, " to ", most,
               ", as the type that receives it can hold");
  return value;
}

std::uint64_t StateValue::unsigned_value() const {
  if (const auto* big = std::get_if<BigInteger>(&value_)) {
    const bool fits = big->bytes.size() == 9 && big->bytes[8] == 0;
    FABRIC_CHECK(Checkpoint, fits, "[fabric.state] got ", description(),
                 "; expected one of at most 64 bits");
    std::uint64_t value = 0;
    for (int byte = 7; byte >= 0; --byte) {
      value = value << 8 | static_cast<unsigned char>(big->bytes[byte]);
    }
    return value;
  }
  return static_cast<std::uint64_t>(integer_between(0, std::numeric_limits<std::uint64_t>::max()));
}

double StateValue::real() const {
  if (const auto* integer = std::get_if<std::int64_t>(&value_)) {
    return static_cast<double>(*integer);
  }
  return get<double>("a number");
}

const StateValue& StateValue::at(std::int64_t index) const {
  const StateList& values = list();
  FABRIC_CHECK(Checkpoint, index >= 0 && index < static_cast<std::int64_t>(values.size()),
               "[fabric.state] no element ", index, " in ", description());
  return values[static_cast<std::size_t>(index)];
}

void StateValue::check_length(std::size_t length) const {
  FABRIC_CHECK(Checkpoint, list().size() == length, "[fabric.state] got ", description(),
               "; expected ", length, " values");
}

}  // namespace fabric
