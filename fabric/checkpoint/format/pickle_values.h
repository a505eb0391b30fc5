// Makes a value of the graph of a pickle.
#pragma once

#include <fabric/checkpoint/format/pickle_graph.h>
#include <fabric/checkpoint/state_value.h>

namespace fabric::detail {

/// @param most how much may be made: values, and 64 bytes of text each count one. Sharing can make
///        a value much larger than its pickle.
/// @throws CheckpointError for cycles, for more values than that, for more than `max_depth`
///         containers inside each other, and for what a StateValue cannot hold
StateValue make_state_value(PickleGraph& graph, PickleId root, std::size_t most, int max_depth);

}  // namespace fabric::detail
