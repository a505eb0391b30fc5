#include <fabric/checkpoint/format/flipped_bytes.h>

namespace fabric::detail {

bool can_flip(c10::ScalarType dtype, FlippedSigns flipped) {
  switch (dtype) {
    case c10::ScalarType::ComplexHalf:
    case c10::ScalarType::ComplexFloat:
    case c10::ScalarType::ComplexDouble:
      return true;
    case c10::ScalarType::Half:
    case c10::ScalarType::BFloat16:
    case c10::ScalarType::Float:
    case c10::ScalarType::Double:
      return !flipped.conjugate;
    default:
      return false;
  }
}

FlippedBytes::FlippedBytes(std::shared_ptr<const TensorBytes> source, c10::ScalarType dtype,
                           FlippedSigns flipped)
    : source_(std::move(source)),
      item_(static_cast<std::int64_t>(c10::elementSize(dtype))),
      real_(c10::isComplexType(dtype) && flipped.negate),
      imaginary_(flipped.negate != flipped.conjugate) {}

void FlippedBytes::read(std::int64_t begin, std::int64_t count, void* to) const {
  source_->read(begin, count, to);
  auto* bytes = static_cast<unsigned char*>(to);
  // The sign is the last bit of a number's last byte.
  const auto flip = [&](std::int64_t byte_of_item) {
    std::int64_t first = byte_of_item - begin % item_;
    first += first < 0 ? item_ : 0;
    for (std::int64_t i = first; i < count; i += item_) {
      bytes[i] ^= 0x80;
    }
  };
  if (imaginary_) {
    flip(item_ - 1);
  }
  if (real_) {
    flip(item_ / 2 - 1);
  }
}

}  // namespace fabric::detail
