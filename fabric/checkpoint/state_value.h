// StateValue: what a state consists of once it is taken out of a program or a file: nested values
// as Python's state dictionaries hold them.
//
//     fabric::StateValue file = fabric::load("checkpoint.pt");
//     auto epoch = file["epoch"].as<int>();
//     auto options = file["options"].as<Net::Options>();        // an aggregate, by field names
//     at::Tensor weight = file["model"]["encoder.weight"].tensor();
#pragma once

#include <array>
#include <complex>
#include <concepts>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>
#include <boost/pfr/core.hpp>
#include <boost/pfr/core_name.hpp>

#include <accelerators/error.h>
#include <fabric/checkpoint/stored_tensor.h>
#include <fabric/structure.h>

namespace fabric {

class StateValue;

/// An integer of more than 64 bits, as files of other programs may hold one: two's complement,
/// least significant byte first.
struct BigInteger {
  std::string bytes;
  friend bool operator==(const BigInteger&, const BigInteger&) = default;
};

/// Raw bytes (Python's bytes and bytearray).
struct Bytes {
  std::string data;
  friend bool operator==(const Bytes&, const Bytes&) = default;
};

/// Values in order. What Python calls them is kept, so that a file goes back as it came.
class StateList {
 public:
  enum class Kind { list, tuple, set, frozenset, size };  // size: torch.Size

  StateList(Kind kind = Kind::list);
  StateList(std::initializer_list<StateValue> values, Kind kind = Kind::list);
  StateList(std::vector<StateValue> values, Kind kind = Kind::list);
  StateList(const StateList&);
  StateList(StateList&&) noexcept;
  StateList& operator=(const StateList&);
  StateList& operator=(StateList&&) noexcept;
  ~StateList();

  Kind kind() const { return kind_; }
  std::size_t size() const;
  bool empty() const { return size() == 0; }
  const StateValue& operator[](std::size_t index) const;
  StateValue& operator[](std::size_t index);
  void push_back(StateValue value);
  void reserve(std::size_t size);
  const StateValue* begin() const;
  const StateValue* end() const;
  StateValue* begin();
  StateValue* end();

 private:
  Kind kind_;
  std::vector<StateValue> values_;
};

/// Values by key, in the order they were put in. Keys are strings nearly always; Python's optimizer
/// states have integers.
class StateDict {
 public:
  using Item = std::pair<StateValue, StateValue>;

  StateDict();
  StateDict(std::initializer_list<Item> items);
  StateDict(const StateDict&);
  StateDict(StateDict&&) noexcept;
  StateDict& operator=(const StateDict&);
  StateDict& operator=(StateDict&&) noexcept;
  ~StateDict();

  std::size_t size() const;
  bool empty() const { return size() == 0; }
  bool contains(std::string_view key) const { return find(key) != nullptr; }
  /// Null where there is none.
  const StateValue* find(std::string_view key) const;
  const StateValue* find(std::int64_t key) const;
  StateValue* find(std::string_view key);
  StateValue* find(std::int64_t key);
  /// @throws CheckpointError naming the keys there are
  const StateValue& operator[](std::string_view key) const;
  const StateValue& operator[](const char* key) const { return (*this)[std::string_view(key)]; }
  /// Adds or replaces.
  void set(StateValue key, StateValue value);
  /// Adds without looking whether the key is there: for what is known to be new.
  void append(StateValue key, StateValue value);
  void erase(std::string_view key);
  const Item* begin() const;
  const Item* end() const;
  Item* begin();
  Item* end();

  /// Whether Python reads it as a collections.OrderedDict, as a module's state_dict() is.
  bool ordered = false;

 private:
  std::vector<Item> items_;
};

namespace detail {
template <class T>
concept StateInteger = std::integral<T> && !std::same_as<T, bool>;

template <class T>
concept HasStateDict = requires(const T& saved, T& loaded, const StateDict& state) {
  { saved.state_dict() } -> std::convertible_to<StateDict>;
  loaded.load_state_dict(state);
};
}  // namespace detail

/// Turns values of the program into StateValues and back: numbers, strings, paths, enums, tensors,
/// containers, maps, optionals, and aggregates, by the names of their fields.
template <class T>
StateValue to_state(const T& value);

/// One value: a scalar, a tensor, or a list or dictionary of values. A tensor of a file stays
/// there until it is asked for.
class StateValue {
 public:
  StateValue() = default;  ///< None
  StateValue(std::nullptr_t) {}
  StateValue(bool value) : value_(value) {}
  template <detail::StateInteger T>
  StateValue(T value) : value_(integer(value)) {}
  template <std::floating_point T>
  StateValue(T value) : value_(static_cast<double>(value)) {}
  StateValue(std::complex<double> value) : value_(value) {}
  StateValue(const char* value) : value_(std::string(value)) {}
  StateValue(std::string value) : value_(std::move(value)) {}
  StateValue(std::string_view value) : value_(std::string(value)) {}
  StateValue(BigInteger value) : value_(std::move(value)) {}
  StateValue(Bytes value) : value_(std::move(value)) {}
  StateValue(StoredTensor value) : value_(std::move(value)) {}
  /// Refers to the tensor: what is written to it before the state is saved is saved.
  StateValue(const at::Tensor& value);
  StateValue(StateList value) : value_(std::move(value)) {}
  StateValue(StateDict value) : value_(std::move(value)) {}
  StateValue(c10::ScalarType value) : value_(value) {}
  StateValue(c10::Device value) : value_(value) {}

  bool is_none() const { return is<std::monostate>(); }
  bool is_bool() const { return is<bool>(); }
  bool is_integer() const { return is<std::int64_t>(); }
  bool is_real() const { return is<double>(); }
  bool is_string() const { return is<std::string>(); }
  bool is_tensor() const { return is<StoredTensor>(); }
  bool is_list() const { return is<StateList>(); }
  bool is_dict() const { return is<StateDict>(); }
  /// What texts call its type ("a dictionary", "a tensor of shape [2, 3]").
  std::string description() const;

  /// The value in the program's type. Integers become real numbers, lists any sequence,
  /// dictionaries maps and aggregates (fields that are missing keep their defaults, keys that are
  /// no field are left out), None an empty optional.
  /// @throws CheckpointError for a value of another type, out of range, or of another length
  template <class T>
  T as() const;

  /// Parts of it. @throws CheckpointError where it is something else, or has no such part
  const StateValue& operator[](std::string_view key) const { return dict()[key]; }
  const StateValue& operator[](const char* key) const { return dict()[key]; }
  const StateValue& operator[](int index) const { return at(index); }
  const StateValue& at(std::int64_t index) const;
  /// Whether it is a dictionary with this key.
  bool contains(std::string_view key) const { return is_dict() && dict().contains(key); }
  const StateDict& dict() const { return get<StateDict>("a dictionary"); }
  const StateList& list() const { return get<StateList>("a list"); }
  const StoredTensor& stored() const { return get<StoredTensor>("a tensor"); }
  const std::string& string() const { return get<std::string>("a string"); }
  StateDict& dict() { return const_cast<StateDict&>(std::as_const(*this).dict()); }
  StateList& list() { return const_cast<StateList&>(std::as_const(*this).list()); }
  /// The whole tensor in memory, read now where it lies in a file.
  at::Tensor tensor() const { return stored().tensor(); }

  using Variant = std::variant<std::monostate, bool, std::int64_t, double, std::complex<double>,
                               std::string, BigInteger, Bytes, StoredTensor, StateList, StateDict,
                               c10::ScalarType, c10::Device>;
  const Variant& variant() const { return value_; }
  Variant& variant() { return value_; }

 private:
  template <class T>
  bool is() const {
    return std::holds_alternative<T>(value_);
  }
  template <class T>
  const T& get(const char* expected) const {
    const T* held = std::get_if<T>(&value_);
    if (held == nullptr) {
      wrong_type(expected);
    }
    return *held;
  }
  template <class T>
  static Variant integer(T value) {
    if constexpr (std::is_unsigned_v<T> && sizeof(T) == 8) {
      return unsigned_integer(value);
    } else {
      return static_cast<std::int64_t>(value);
    }
  }
  static Variant unsigned_integer(std::uint64_t value);
  [[noreturn]] void wrong_type(const char* expected) const;
  std::int64_t integer_between(std::int64_t least, std::uint64_t most) const;
  std::uint64_t unsigned_value() const;
  double real() const;
  void check_length(std::size_t length) const;

  Variant value_;
};

// ---- conversions --------------------------------------------------------------------------------

namespace detail {

/// Types that std::filesystem::path and strings are made from.
template <class T>
concept StateText = std::convertible_to<const T&, std::string_view>;

template <class T>
constexpr bool kNoState = false;

}  // namespace detail

template <class T>
StateValue to_state(const T& value) {
  if constexpr (std::is_same_v<T, StateValue> || std::is_same_v<T, bool> ||
                std::is_arithmetic_v<T> || std::is_base_of_v<at::Tensor, T> ||
                detail::StateText<T> || std::is_constructible_v<StateValue::Variant, const T&>) {
    return StateValue(value);
  } else if constexpr (detail::HasStateDict<T>) {
    return StateValue(StateDict(value.state_dict()));
  } else if constexpr (std::is_enum_v<T>) {
    return StateValue(static_cast<std::int64_t>(value));
  } else if constexpr (std::is_same_v<T, std::filesystem::path>) {
    return StateValue(value.string());
  } else if constexpr (detail::is_instance_of<T, std::optional>) {
    return value.has_value() ? to_state(*value) : StateValue();
  } else if constexpr (detail::is_sequence<T>) {
    StateList list;
    for (const typename T::value_type& element : value) {  // vector<bool>: by value
      list.push_back(to_state<typename T::value_type>(element));
    }
    return list;
  } else if constexpr (detail::is_map<T>) {
    StateDict dict;
    for (const auto& [key, element] : value) {
      dict.append(to_state(key), to_state(element));
    }
    return dict;
  } else if constexpr (detail::is_tuple<T>) {
    return std::apply(
        [](const auto&... elements) {
          return StateValue(StateList({to_state(elements)...}, StateList::Kind::tuple));
        },
        value);
  } else {
    static_assert(
        detail::PlainAggregate<T>,
        "a fabric::State holds modules, optimizers, schedules, loaders, tensors, numbers, "
        "strings, containers and plain structs of those, and classes with "
        "`fabric::StateDict state_dict() const` and `void load_state_dict(const "
        "fabric::StateDict&)`; this type is none of them.");
    StateDict dict;
    boost::pfr::for_each_field_with_name(value, [&](std::string_view name, const auto& field) {
      dict.append(name, to_state(field));
    });
    return dict;
  }
}

template <class T>
T StateValue::as() const {
  if constexpr (std::is_same_v<T, StateValue>) {
    return *this;
  } else if constexpr (std::is_same_v<T, bool>) {
    return get<bool>("a bool");
  } else if constexpr (std::is_integral_v<T>) {
    if constexpr (std::is_unsigned_v<T> && sizeof(T) == 8) {
      return unsigned_value();
    } else {
      return static_cast<T>(
          integer_between(std::numeric_limits<T>::min(),
                          static_cast<std::uint64_t>(std::numeric_limits<T>::max())));
    }
  } else if constexpr (std::is_floating_point_v<T>) {
    return static_cast<T>(real());
  } else if constexpr (std::is_enum_v<T> && !std::is_same_v<T, c10::ScalarType>) {
    return static_cast<T>(as<std::underlying_type_t<T>>());
  } else if constexpr (std::is_base_of_v<at::Tensor, T>) {
    return T(tensor());
  } else if constexpr (std::is_same_v<T, std::string>) {
    return string();
  } else if constexpr (std::is_same_v<T, std::filesystem::path>) {
    return T(string());
  } else if constexpr (std::is_same_v<T, StateDict> || std::is_same_v<T, StateList> ||
                       std::is_same_v<T, StoredTensor> || std::is_same_v<T, Bytes> ||
                       std::is_same_v<T, BigInteger> || std::is_same_v<T, std::complex<double>> ||
                       std::is_same_v<T, c10::ScalarType> || std::is_same_v<T, c10::Device>) {
    return get<T>("a value of the type that was asked for");
  } else if constexpr (detail::HasStateDict<T>) {
    T value{};
    value.load_state_dict(dict());
    return value;
  } else if constexpr (detail::is_instance_of<T, std::optional>) {
    return is_none() ? T() : T(as<typename T::value_type>());
  } else if constexpr (detail::is_std_array<T>) {
    check_length(std::tuple_size_v<T>);
    T array{};
    for (std::size_t i = 0; i < array.size(); ++i) {
      array[i] = list()[i].template as<typename T::value_type>();
    }
    return array;
  } else if constexpr (detail::is_sequence<T>) {
    T sequence;
    for (const StateValue& element : list()) {
      sequence.push_back(element.template as<typename T::value_type>());
    }
    return sequence;
  } else if constexpr (detail::is_map<T>) {
    T map;
    for (const auto& [key, element] : dict()) {
      map.emplace(key.template as<typename T::key_type>(),
                  element.template as<typename T::mapped_type>());
    }
    return map;
  } else if constexpr (detail::is_tuple<T>) {
    check_length(std::tuple_size_v<T>);
    return [this]<std::size_t... I>(std::index_sequence<I...>) {
      return T{list()[I].template as<std::tuple_element_t<I, T>>()...};
    }(std::make_index_sequence<std::tuple_size_v<T>>());
  } else {
    static_assert(detail::PlainAggregate<T> && std::is_default_constructible_v<T>,
                  "StateValue::as<T>: T is a number, a string, a tensor, a container, a plain "
                  "struct with defaults, or a class with load_state_dict; this type is none of "
                  "them.");
    T value{};
    const StateDict& fields = dict();
    boost::pfr::for_each_field_with_name(value, [&](std::string_view name, auto& field) {
      if (const StateValue* saved = fields.find(name)) {
        try {
          field = saved->template as<std::remove_reference_t<decltype(field)>>();
        } catch (const CheckpointError& error) {
          throw CheckpointError(detail::str("[fabric.state] field '", name, "': ", error.what()));
        }
      }
    });
    return value;
  }
}

}  // namespace fabric
