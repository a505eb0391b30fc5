// The loops of optimizers for any processor.
#include <accelerators/kernels/cpu/optimizer_loops.h>

namespace fabric::kernels {

const OptimizerLoops* baseline_loops(Real real) {
  return loops_of(real);
}

}  // namespace fabric::kernels
