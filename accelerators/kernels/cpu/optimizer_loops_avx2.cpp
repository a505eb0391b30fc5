// The loops of optimizers for processors with AVX2 and FMA; compiled with flags of its own.
#include <accelerators/kernels/cpu/optimizer_loops.h>

namespace fabric::kernels {

const OptimizerLoops* avx2_loops(Real real) {
#ifdef __AVX2__
  return loops_of(real);
#else
  return real == Real::f32 ? nullptr : nullptr;
#endif
}

}  // namespace fabric::kernels
