// The CPU as an accelerator: one device, any number of processes.
#pragma once

#include <memory>

#include <accelerators/accelerator.h>

namespace fabric::cpu {

std::unique_ptr<Accelerator> make_accelerator();

}  // namespace fabric::cpu
