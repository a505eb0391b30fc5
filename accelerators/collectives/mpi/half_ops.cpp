// Loops over 2-byte floats, written without branches so that the compiler vectorises them.
#include <accelerators/collectives/mpi/half_ops.h>

#include <bit>
#include <cstdint>

#include <accelerators/collectives/mpi/mpi_error.h>

// Several versions of one loop, chosen when the library is loaded.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__)
#define FABRIC_CLONES __attribute__((target_clones("default", "avx2")))
#else
#define FABRIC_CLONES
#endif
#define FABRIC_INLINE inline __attribute__((always_inline))

namespace fabric::mpi::detail {
namespace {

// `condition ? a : b` by masks, so that no branch around floating-point code keeps the compiler
// from vectorising; it needs -fno-trapping-math as well (see CMakeLists.txt): 4 times faster
// together.
FABRIC_INLINE std::uint32_t choose(bool condition, std::uint32_t a, std::uint32_t b) {
  const std::uint32_t mask = 0u - static_cast<std::uint32_t>(condition);
  return (a & mask) | (b & ~mask);
}

struct Half {
  // The branch-free conversions of Maratyszcza's FP16 library, which c10::Half uses too.
  static FABRIC_INLINE float load(std::uint16_t h) {
    const std::uint32_t w = static_cast<std::uint32_t>(h) << 16;
    const std::uint32_t sign = w & 0x80000000u;
    const std::uint32_t two_w = w + w;
    const float normal = std::bit_cast<float>((two_w >> 4) + (0xE0u << 23)) * 0x1.0p-112f;
    const float subnormal = std::bit_cast<float>((two_w >> 17) | (126u << 23)) - 0.5f;
    const std::uint32_t value = choose(two_w < (1u << 27), std::bit_cast<std::uint32_t>(subnormal),
                                       std::bit_cast<std::uint32_t>(normal));
    return std::bit_cast<float>(sign | value);
  }
  static FABRIC_INLINE std::uint16_t store(float f) {
    const std::uint32_t w = std::bit_cast<std::uint32_t>(f);
    const std::uint32_t two_w = w + w;
    float base = (std::bit_cast<float>(w & 0x7FFFFFFFu) * 0x1.0p+112f) * 0x1.0p-110f;
    std::uint32_t bias = two_w & 0xFF000000u;
    bias = bias < 0x71000000u ? 0x71000000u : bias;
    base = std::bit_cast<float>((bias >> 1) + 0x07800000u) + base;
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(base);
    const std::uint32_t value = ((bits >> 13) & 0x7C00u) + (bits & 0x0FFFu);
    return static_cast<std::uint16_t>(((w & 0x80000000u) >> 16) |
                                      (two_w > 0xFF000000u ? 0x7E00u : value));
  }
};

struct BFloat16 {
  static FABRIC_INLINE float load(std::uint16_t b) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(b) << 16);
  }
  static FABRIC_INLINE std::uint16_t store(float f) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(f);
    const std::uint32_t rounded = (bits + ((bits >> 16) & 1u) + 0x7FFFu) >> 16;
    return static_cast<std::uint16_t>((bits & 0x7FFFFFFFu) > 0x7F800000u ? 0x7FC0u : rounded);
  }
};

struct Sum {
  static FABRIC_INLINE float apply(float a, float b) { return a + b; }
};
struct Product {
  static FABRIC_INLINE float apply(float a, float b) { return a * b; }
};
struct Min {
  static FABRIC_INLINE float apply(float a, float b) { return a < b ? a : b; }
};
struct Max {
  static FABRIC_INLINE float apply(float a, float b) { return a > b ? a : b; }
};

template <class Format, class Op>
FABRIC_INLINE void combine(const void* in, void* inout, int count) {
  const auto* __restrict a = static_cast<const std::uint16_t*>(in);
  auto* __restrict b = static_cast<std::uint16_t*>(inout);
  for (int i = 0; i < count; ++i) {
    b[i] = Format::store(Op::apply(Format::load(a[i]), Format::load(b[i])));
  }
}

// Clones need plain functions, so each pair of format and operation has one.
#define FABRIC_HALF_OP(Format, Op)                                                  \
  FABRIC_CLONES void Format##Op(void* in, void* inout, int* count, MPI_Datatype*) { \
    combine<Format, Op>(in, inout, *count);                                         \
  }
FABRIC_HALF_OP(Half, Sum)
FABRIC_HALF_OP(Half, Product)
FABRIC_HALF_OP(Half, Min)
FABRIC_HALF_OP(Half, Max)
FABRIC_HALF_OP(BFloat16, Sum)
FABRIC_HALF_OP(BFloat16, Product)
FABRIC_HALF_OP(BFloat16, Min)
FABRIC_HALF_OP(BFloat16, Max)
#undef FABRIC_HALF_OP

template <class Format>
FABRIC_INLINE void divide(void* data, std::size_t count, int divisor) {
  auto* values = static_cast<std::uint16_t*>(data);
  const float by = static_cast<float>(divisor);
  for (std::size_t i = 0; i < count; ++i) {
    values[i] = Format::store(Format::load(values[i]) / by);
  }
}

FABRIC_CLONES void divide_halves(void* data, std::size_t count, int divisor) {
  divide<Half>(data, count, divisor);
}
FABRIC_CLONES void divide_bfloat16s(void* data, std::size_t count, int divisor) {
  divide<BFloat16>(data, count, divisor);
}

MPI_Datatype two_bytes() {
  MPI_Datatype type = MPI_DATATYPE_NULL;
  check(MPI_Type_contiguous(2, MPI_BYTE, &type), "MPI_Type_contiguous");
  check(MPI_Type_commit(&type), "MPI_Type_commit");
  return type;
}

MPI_Op create(MPI_User_function* function) {
  MPI_Op op = MPI_OP_NULL;
  check(MPI_Op_create(function, /*commute=*/1, &op), "MPI_Op_create");
  return op;
}

}  // namespace

MPI_Datatype half_type() {
  static MPI_Datatype type = two_bytes();
  return type;
}

MPI_Datatype bfloat16_type() {
  static MPI_Datatype type = two_bytes();
  return type;
}

MPI_Op half_op(c10d::ReduceOp::RedOpType op) {
  static const MPI_Op sum = create(HalfSum), product = create(HalfProduct), min = create(HalfMin),
                      max = create(HalfMax);
  switch (op) {
    case c10d::ReduceOp::SUM:
      return sum;
    case c10d::ReduceOp::PRODUCT:
      return product;
    case c10d::ReduceOp::MIN:
      return min;
    case c10d::ReduceOp::MAX:
      return max;
    default:
      return MPI_OP_NULL;
  }
}

MPI_Op bfloat16_op(c10d::ReduceOp::RedOpType op) {
  static const MPI_Op sum = create(BFloat16Sum), product = create(BFloat16Product),
                      min = create(BFloat16Min), max = create(BFloat16Max);
  switch (op) {
    case c10d::ReduceOp::SUM:
      return sum;
    case c10d::ReduceOp::PRODUCT:
      return product;
    case c10d::ReduceOp::MIN:
      return min;
    case c10d::ReduceOp::MAX:
      return max;
    default:
      return MPI_OP_NULL;
  }
}

void divide_half(void* data, std::size_t count, int divisor) {
  divide_halves(data, count, divisor);
}

void divide_bfloat16(void* data, std::size_t count, int divisor) {
  divide_bfloat16s(data, count, divisor);
}

}  // namespace fabric::mpi::detail
