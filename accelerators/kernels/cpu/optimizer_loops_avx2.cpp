// The loops of optimizers for processors with AVX2 and FMA; compiled with flags of its own.
#include <accelerators/kernels/cpu/optimizer_loops.h>

namespace fabric::kernels {

const OptimizerLoops* avx2_loops([[maybe_unused]] Real real) {
#ifdef __AVX2__
  return loops_of(real);
#else
  return nullptr;
#endif
}

}  // namespace fabric::kernels
