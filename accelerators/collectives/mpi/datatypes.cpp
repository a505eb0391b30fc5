#include <accelerators/collectives/mpi/datatypes.h>

#include <accelerators/collectives/mpi/half_ops.h>
#include <accelerators/error.h>

namespace fabric::mpi::detail {
namespace {

using c10d::ReduceOp;

template <class T>
void divide(void* data, std::size_t count, int divisor) {
  T* values = static_cast<T*>(data);
  const T by = static_cast<T>(divisor);
  for (std::size_t i = 0; i < count; ++i) {
    values[i] /= by;
  }
}

const char* name_of(ReduceOp::RedOpType op) {
  static constexpr const char* kNames[] = {"sum",  "mean", "product", "min",       "max",
                                           "band", "bor",  "bxor",    "premul_sum"};
  return op <= ReduceOp::PREMUL_SUM ? kNames[op] : "unknown";
}

MPI_Op builtin(ReduceOp::RedOpType op) {
  switch (op) {
    case ReduceOp::SUM:
      return MPI_SUM;
    case ReduceOp::PRODUCT:
      return MPI_PROD;
    case ReduceOp::MIN:
      return MPI_MIN;
    case ReduceOp::MAX:
      return MPI_MAX;
    default:
      return MPI_OP_NULL;
  }
}

MPI_Datatype integer_type(at::ScalarType dtype) {
  switch (dtype) {
    case at::kByte:
      return MPI_UINT8_T;
    case at::kChar:
      return MPI_INT8_T;
    case at::kShort:
      return MPI_INT16_T;
    case at::kInt:
      return MPI_INT32_T;
    case at::kLong:
      return MPI_INT64_T;
    case at::kUInt16:
      return MPI_UINT16_T;
    case at::kUInt32:
      return MPI_UINT32_T;
    case at::kUInt64:
      return MPI_UINT64_T;
    default:
      return MPI_DATATYPE_NULL;
  }
}

}  // namespace

Reduction reduction_for(const char* where, at::ScalarType dtype, const ReduceOp& asked) {
  const ReduceOp::RedOpType kind = asked.op_;
  const bool mean = kind == ReduceOp::AVG;
  const ReduceOp::RedOpType op = mean ? ReduceOp::SUM : kind;
  FABRIC_CHECK(Communication, builtin(op) != MPI_OP_NULL, "[", where,
               "] CPU tensors cannot be reduced by this operation; got ", name_of(kind),
               "; expected sum, mean, min, max or product");
  switch (dtype) {
    case at::kFloat:
      return {MPI_FLOAT, builtin(op), 4, mean ? divide<float> : nullptr};
    case at::kDouble:
      return {MPI_DOUBLE, builtin(op), 8, mean ? divide<double> : nullptr};
    case at::kHalf:
      return {half_type(), half_op(op), 2, mean ? divide_half : nullptr};
    case at::kBFloat16:
      return {bfloat16_type(), bfloat16_op(op), 2, mean ? divide_bfloat16 : nullptr};
    default:
      break;
  }
  FABRIC_CHECK(Communication, !mean, "[", where,
               "] a mean needs floating-point numbers; got dtype ", dtype,
               "; expected float, double, half or bfloat16. Hint: convert the tensor to "
               "double first, or take the sum");
  if (dtype == at::kBool) {
    // Elements are 0 or 1: "or" is the larger and "and" the smaller, which Open MPI vectorises.
    const bool any = op == ReduceOp::SUM || op == ReduceOp::MAX;
    return {MPI_UINT8_T, any ? MPI_MAX : MPI_MIN, 1, nullptr};
  }
  const MPI_Datatype type = integer_type(dtype);
  FABRIC_CHECK(Communication, type != MPI_DATATYPE_NULL, "[", where,
               "] this dtype cannot be reduced on the CPU; got ", dtype,
               "; expected float, double, half, bfloat16, an integer dtype or bool");
  return {type, builtin(op), c10::elementSize(dtype), nullptr};
}

}  // namespace fabric::mpi::detail
