// Notices ranks that do different things, before they mix their data.
#pragma once

#include <cstdint>
#include <string>

#include <accelerators/collectives/communicator.h>

namespace fabric {

/// What the ranks of one model are about to do together.
struct EngineStep {
  enum Kind { gather = 1, gather_gradients = 2, end_of_backward = 3 };
  std::int64_t sequence = 0;  ///< how many steps came before
  Kind kind = gather;
  std::size_t unit = 0;
};

/// What the ranks said about a step.
struct Agreement {
  bool same_step = true;    ///< of the ranks whose backward goes on
  bool same_state = true;   ///< of all ranks
  bool any_at_end = false;  ///< some rank's backward has ended
  bool all_at_end = false;
  EngineStep other;  ///< what another rank, whose backward goes on, is about to do
};

/// All ranks confirm a step to each other, in a message of 40 bytes. Collective; returns when the
/// last rank is there. Ranks whose backward has ended agree with every step of the others.
/// @param state something ranks may differ in
Agreement agree(const Communicator& communicator, const EngineStep& step, std::int64_t state);

}  // namespace fabric
