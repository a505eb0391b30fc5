// The tables of integers.
#include <cmath>
#include <limits>

#include <fabric/config/tree/node.h>
#include <fabric/config/types/scalars.h>
#include <fabric/config/types/words.h>

namespace fabric::config::detail {
namespace {

struct IntegerType : ScalarType {
  void (*store)(void* value, std::uint64_t bits);
  std::uint64_t largest;  ///< of the numbers above zero
  std::uint64_t least;    ///< of those below, without its sign
};

std::string integer_text(const Integer& integer) {
  return (integer.negative && integer.magnitude > 0 ? "-" : "") + std::to_string(integer.magnitude);
}

// How to write what is a whole number, but not written as one.
std::string hint_for(std::string_view text) {
  std::string plain(text);
  std::erase(plain, '_');
  if (plain != text && integer_of(plain)) {
    return "write " + plain + ".";
  }
  const std::optional<double> real = real_of(text);
  if (real && std::abs(*real) < 1e15 && *real == std::trunc(*real)) {
    return "write " + std::to_string(static_cast<std::int64_t>(*real)) + ".";
  }
  return {};
}

std::string read_integer(const ScalarType& scalar_type, void* value, const Node& node) {
  const auto& type = static_cast<const IntegerType&>(scalar_type);
  if (std::string wrong = check_word(node, type.name); !wrong.empty()) {
    return wrong;
  }
  const std::string_view text = word_of(node);
  const std::optional<Integer> read = integer_of(text);
  const bool digits_only = text.find_first_not_of("+-0123456789") == std::string_view::npos;
  if (!read && !(digits_only && is_out_of_range(text))) {
    return misread(node, type.name, hint_for(text));
  }
  if (!read || read->magnitude > (read->negative ? type.least : type.largest)) {
    return "out of range; " + misread(node, "int from " + integer_text({true, type.least}) +
                                                " to " + integer_text({false, type.largest}));
  }
  type.store(value, read->negative ? std::uint64_t{0} - read->magnitude : read->magnitude);
  return {};
}

template <class T>
const Type& integer_type() {
  constexpr auto kLargest = static_cast<std::uint64_t>(std::numeric_limits<T>::max());
  static const IntegerType type{
      {{Type::Kind::scalar},
       "int",
       read_integer,
       [](const ScalarType&, const void* value) {
         return Node::scalar(std::to_string(*static_cast<const T*>(value)));
       },
       true},
      [](void* value, std::uint64_t bits) { *static_cast<T*>(value) = static_cast<T>(bits); },
      kLargest,
      std::numeric_limits<T>::is_signed ? kLargest + 1 : 0};
  return type;
}

}  // namespace

const Type& builtin(Of<signed char>) {
  return integer_type<signed char>();
}
const Type& builtin(Of<unsigned char>) {
  return integer_type<unsigned char>();
}
const Type& builtin(Of<short>) {
  return integer_type<short>();
}
const Type& builtin(Of<unsigned short>) {
  return integer_type<unsigned short>();
}
const Type& builtin(Of<int>) {
  return integer_type<int>();
}
const Type& builtin(Of<unsigned int>) {
  return integer_type<unsigned int>();
}
const Type& builtin(Of<long>) {
  return integer_type<long>();
}
const Type& builtin(Of<unsigned long>) {
  return integer_type<unsigned long>();
}
const Type& builtin(Of<long long>) {
  return integer_type<long long>();
}
const Type& builtin(Of<unsigned long long>) {
  return integer_type<unsigned long long>();
}

}  // namespace fabric::config::detail
