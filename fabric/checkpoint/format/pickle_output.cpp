#include <fabric/checkpoint/format/pickle_output.h>

#include <bit>
#include <limits>

#include <fabric/checkpoint/format/little_endian.h>

namespace fabric::detail {

void PickleOutput::put_integer(std::int64_t value) {
  if (value >= 0 && value <= 0xff) {
    put(PickleOp::binint1);
    bytes_.push_back(static_cast<char>(value));
  } else if (value >= 0 && value <= 0xffff) {
    put(PickleOp::binint2);
    append_little_endian(bytes_, static_cast<std::uint16_t>(value));
  } else if (value >= std::numeric_limits<std::int32_t>::min() &&
             value <= std::numeric_limits<std::int32_t>::max()) {
    put(PickleOp::binint);
    append_little_endian(bytes_, static_cast<std::uint32_t>(value));
  } else {
    std::string large;
    append_little_endian(large, static_cast<std::uint64_t>(value));
    put_long(large);
  }
}

void PickleOutput::put_long(std::string_view bytes) {
  put(PickleOp::long1);
  bytes_.push_back(static_cast<char>(bytes.size()));
  bytes_ += bytes;
}

void PickleOutput::put_real(double value) {
  put(PickleOp::binfloat);
  const auto bits = std::bit_cast<std::uint64_t>(value);
  for (int shift = 56; shift >= 0; shift -= 8) {
    bytes_.push_back(static_cast<char>(bits >> shift & 0xff));
  }
}

bool PickleOutput::recall(const Memo& memo, std::string_view text) {
  const auto known = memo.find(text);
  if (known == memo.end()) {
    return false;
  }
  if (known->second <= 0xff) {
    put(PickleOp::binget);
    bytes_.push_back(static_cast<char>(known->second));
  } else {
    put(PickleOp::long_binget);
    append_little_endian(bytes_, known->second);
  }
  return true;
}

// `text` has to last until the pickle is complete.
void PickleOutput::remember(Memo& memo, std::string_view text) {
  const auto index = static_cast<std::uint32_t>(texts_.size() + globals_.size());
  if (index <= 0xff) {
    put(PickleOp::binput);
    bytes_.push_back(static_cast<char>(index));
  } else {
    put(PickleOp::long_binput);
    append_little_endian(bytes_, index);
  }
  memo.emplace(text, index);
}

void PickleOutput::put_text(std::string_view text) {
  if (!recall(texts_, text)) {
    put_new_text(text);
    remember(texts_, text);
  }
}

void PickleOutput::put_new_text(std::string_view text) {
  put(PickleOp::binunicode);
  append_little_endian(bytes_, static_cast<std::uint32_t>(text.size()));
  bytes_ += text;
}

void PickleOutput::put_global(std::string_view module, std::string_view name) {
  if (recall(globals_, name)) {
    return;
  }
  put(PickleOp::global);
  bytes_ += module;
  bytes_ += '\n';
  bytes_ += name;
  bytes_ += '\n';
  remember(globals_, name);
}

void PickleOutput::end_tuple(std::size_t count) {
  constexpr PickleOp kShort[] = {PickleOp::empty_tuple, PickleOp::tuple1, PickleOp::tuple2,
                                 PickleOp::tuple3};
  put(count < 4 ? kShort[count] : PickleOp::tuple);
}

void PickleOutput::put_tuple(std::span<const std::int64_t> values) {
  if (values.size() > 3) {
    put(PickleOp::mark);
  }
  for (const std::int64_t value : values) {
    put_integer(value);
  }
  end_tuple(values.size());
}

}  // namespace fabric::detail
