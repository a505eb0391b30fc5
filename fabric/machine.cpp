#include <fabric/machine.h>

#include <algorithm>

#include <accelerators/accelerator.h>
#include <accelerators/collectives/mpi/mpi.h>
#include <accelerators/cuda/cuda.h>
#include <accelerators/error.h>
#include <accelerators/registry.h>
#include <accelerators/text.h>
#include <strategies/registry.h>

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
  for (const std::string& name : strategy_names()) {
    if (name != "single_device" && name != "ddp" && name != "fsdp") {
      machine.strategies.push_back(name);
    }
  }
  return machine;
}

AcceleratorFacts choose_accelerator(const AcceleratorChoice& choice, const Machine& machine,
                                    std::string_view source, std::vector<std::string>& decisions) {
  std::vector<AcceleratorFacts> all{
      {"cpu", c10::DeviceType::CPU, 1, 1},
      {"cuda", c10::DeviceType::CUDA, machine.cuda_devices, machine.cuda_devices}};
  all.insert(all.end(), machine.accelerators.begin(), machine.accelerators.end());
  std::string name(choice.name());
  const std::string given = detail::str("'", name, "'", detail::from(source));
  if (name == "auto") {
    name = machine.cuda_devices > 0 ? "cuda" : "cpu";
    const std::string why = machine.cuda_devices > 0 ? detail::str(machine.cuda_devices, " visible")
                            : machine.cuda_compiled  ? "no CUDA device is visible"
                                                     : "this build has no CUDA";
    decisions.push_back(detail::str("accelerator: ", name, " (", why, ")"));
  } else if (name == "gpu") {
    name = "cuda";
  }
  std::vector<std::string> known{"auto", "gpu"};
  std::vector<std::string> usable{"auto"};
  for (const AcceleratorFacts& one : all) {
    known.push_back(one.name);
    if (one.available > 0) {
      usable.push_back(one.name);
    }
  }
  const auto found = std::find_if(all.begin(), all.end(),
                                  [&](const AcceleratorFacts& one) { return one.name == name; });
  FABRIC_CHECK(Misconfiguration, found != all.end(),
               "[fabric.accelerator] unknown accelerator; got ", given, "; expected ",
               detail::list_or(known),
               ". Hint: register_accelerator() adds one of your own; call it before Fabric.");
  const char* reason = name != "cuda" ? "it has no device here."
                       : machine.cuda_compiled
                           ? "no CUDA device is visible: see nvidia-smi and CUDA_VISIBLE_DEVICES."
                           : "this build has no CUDA: configure with -DFABRIC_WITH_CUDA=ON and run "
                             "tools/setup --cuda.";
  FABRIC_CHECK(Device, found->available > 0,
               "[fabric.accelerator] the accelerator cannot be used; got ", given, "; expected ",
               detail::list_or(usable), ". Hint: ", reason);
  return *found;
}

}  // namespace fabric
