// All fused optimizers, and what goes with them.
#pragma once

#include <fabric/optim/decay_groups.h>
#include <fabric/optim/fuse.h>
#include <fabric/optim/fused_adagrad.h>
#include <fabric/optim/fused_adam.h>
#include <fabric/optim/fused_sgd.h>
#include <fabric/optim/lion.h>
