// The `matmul_precision` option: what matrix products of fp32 tensors may be rounded to.
#pragma once

#include <accelerators/named_choice.h>

namespace fabric {

namespace detail {
struct MatmulPrecisionNames {
  static constexpr std::string_view what = "matmul precision";
  static constexpr std::string_view names[] = {"keep", "highest", "high", "medium"};
  static constexpr void check(bool known) {
    if (!known) {
      throw "matmul_precision: expected \"keep\", \"highest\", \"high\" or \"medium\"";
    }
  }
};
}  // namespace detail

/// How precisely matrix products of fp32 tensors are computed: Python's
/// torch.set_float32_matmul_precision. One setting of the whole process, which outlives Fabric.
///
/// - `"keep"` (default): as LibTorch has it, which begins with `"highest"`
/// - `"highest"`: in fp32
/// - `"high"`: on CUDA in TF32 (10 bits of mantissa), several times faster there
/// - `"medium"`: as `"high"` on CUDA; oneDNN on CPUs that can may use bf16
///
/// Convolutions have a switch of their own, `at::globalContext().setAllowTF32CuDNN`, which is on
/// from the start.
using MatmulPrecisionChoice = NamedChoice<detail::MatmulPrecisionNames>;

}  // namespace fabric
