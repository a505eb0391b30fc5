#include <doctest/doctest.h>

#include <cstring>

#include <ATen/ATen.h>

#include <fabric/checkpoint/format/flipped_bytes.h>
#include <fabric/checkpoint/state_value.h>

namespace {

using fabric::StoredTensor;
using fabric::detail::FlippedBytes;
using fabric::detail::FlippedSigns;

at::Tensor flipped(const at::Tensor& tensor, FlippedSigns signs) {
  const StoredTensor stored(tensor);
  REQUIRE(fabric::detail::can_flip(stored.dtype(), signs));
  const auto bytes = std::make_shared<FlippedBytes>(stored.bytes(), stored.dtype(), signs);
  const at::Tensor all =
      StoredTensor(stored.dtype(), stored.sizes().vec(), stored.strides().vec(), 0, bytes).tensor();
  // Any part of the bytes is that part.
  for (std::int64_t begin = 0; begin < bytes->size(); begin += 3) {
    for (std::int64_t count = 0; count <= bytes->size() - begin; ++count) {
      std::string part(static_cast<std::size_t>(count), 'x');
      bytes->read(begin, count, part.data());
      const bool same =
          std::memcmp(part.data(), static_cast<const char*>(all.const_data_ptr()) + begin,
                      part.size()) == 0;
      REQUIRE(same);
    }
  }
  return all;
}

}  // namespace

TEST_SUITE("fabric.checkpoint.flipped_bytes") {
  TEST_CASE("signs as PyTorch flips them") {
    const at::Tensor real = at::tensor({1.0, -2.0, 0.5});
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16}) {
      CHECK(flipped(real.to(dtype), {.negate = true}).equal(-real.to(dtype)));
    }
    for (const at::ScalarType dtype : {at::kComplexFloat, at::kComplexDouble}) {
      const at::Tensor values = at::complex(real, real + 1).to(dtype);
      CHECK(flipped(values, {.conjugate = true}).equal(values.conj().resolve_conj()));
      CHECK(flipped(values, {.negate = true}).equal(-values));
      CHECK(flipped(values, {.conjugate = true, .negate = true}).equal(-values.conj()));
      CHECK(flipped(values, {}).equal(values));
    }
  }

  TEST_CASE("dtypes whose signs are no bits") {
    CHECK_FALSE(fabric::detail::can_flip(at::kFloat, {.conjugate = true}));
    CHECK_FALSE(fabric::detail::can_flip(at::kInt, {.negate = true}));
    CHECK_FALSE(fabric::detail::can_flip(at::kFloat8_e4m3fn, {.negate = true}));
  }
}
