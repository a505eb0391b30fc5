// CUDA devices below the toolkit. A build without CUDA has the same functions (no_cuda.cpp), which
// see no device and say why.
#pragma once

#include <memory>
#include <string>

#include <accelerators/accelerator.h>

namespace fabric::cuda {

/// Whether this build has CUDA.
bool compiled();

/// CUDA devices this process can see; 0 without a driver. Makes no context on any of them.
int device_count();

/// Why device_count() is 0, and what to do about it; empty when it is not.
std::string unavailable_reason();

/// Whether a small tensor can be made on device `id`. Makes a context on it.
bool is_usable(int id);

std::unique_ptr<Accelerator> make_accelerator();

}  // namespace fabric::cuda
