// Elements that a file holds as they were before they were conjugated or negated: Python saves such
// a tensor as it lies in memory, with a mark.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <c10/core/ScalarType.h>

#include <fabric/checkpoint/stored_tensor.h>

namespace fabric::detail {

struct FlippedSigns {
  bool conjugate = false;
  bool negate = false;
};

/// Whether flipping the signs of elements of this dtype is flipping bits: real numbers of IEEE's
/// formats and complex ones.
bool can_flip(c10::ScalarType dtype, FlippedSigns flipped);

/// The bytes of another run with the signs of its elements flipped.
class FlippedBytes final : public TensorBytes {
 public:
  /// @param source whole elements of `dtype`
  FlippedBytes(std::shared_ptr<const TensorBytes> source, c10::ScalarType dtype,
               FlippedSigns flipped);

  std::int64_t size() const override { return source_->size(); }
  void read(std::int64_t begin, std::int64_t count, void* to) const override;
  std::int64_t good_end(std::int64_t begin, std::int64_t most) const override {
    return source_->good_end(begin, most);
  }
  std::string name() const override { return source_->name(); }
  GatherGroup* group() const override { return source_->group(); }

 private:
  std::shared_ptr<const TensorBytes> source_;
  std::int64_t item_;
  bool real_;       // of complex elements: flip the real part
  bool imaginary_;  // or the sign of a real number
};

}  // namespace fabric::detail
