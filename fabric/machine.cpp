#include <fabric/machine.h>

#include <accelerators/accelerator.h>
#include <accelerators/collectives/mpi/mpi.h>
#include <accelerators/cuda/cuda.h>
#include <accelerators/registry.h>

namespace fabric {

Machine Machine::read() {
  Machine machine;
  machine.cuda_devices = cuda::device_count();
  machine.cuda_compiled = cuda::compiled();
  machine.mpi_compiled = mpi::compiled();
  if (mpi::joined()) {
    machine.joined = world();
  }
  for (const std::string& name : accelerator_names()) {
    if (name != "cpu" && name != "cuda") {
      machine.accelerators.push_back(facts_of(find_accelerator(name)));
    }
  }
  return machine;
}

}  // namespace fabric
