// Cuts the parameters of a model into units.
#pragma once

#include <vector>

#include <strategies/flat/sharded_model.h>
#include <strategies/strategy.h>
#include <strategies/unit_choice.h>

namespace fabric {

/// The units of a model, in the order of its parameters. A parameter that is registered in several
/// places is in the unit of the first; parameters without elements are in none.
/// @throws MisconfigurationError for names that no module has, and parameters of complex dtype
std::vector<UnitPlan> plan_units(const std::string& label, const ModelTensors& tensors,
                                 const UnitChoice& choice);

}  // namespace fabric
