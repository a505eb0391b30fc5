// What nearly every source of ours includes; compiled once.
#pragma once

#include <torch/script.h>
#include <torch/torch.h>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>

#include <boost/pfr.hpp>
