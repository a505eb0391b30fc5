#include <fabric/checkpoint/format/pickle_reader.h>

#include <fabric/checkpoint/format/pickle_machine.h>
#include <fabric/checkpoint/format/pickle_values.h>

namespace fabric::detail {

StateValue read_pickle(std::string_view pickle, const std::string& name,
                       const PickleReaderOptions& options) {
  // Without sharing there are fewer values than bytes. What optimizers share (betas, keys) stays
  // far below this.
  constexpr std::size_t kSharing = 4;
  constexpr std::size_t kAnyway = 1 << 16;
  PickleGraph graph(name);
  const PickleId root = PickleMachine(pickle, graph, options).run();
  return make_state_value(graph, root, kSharing * pickle.size() + kAnyway, options.max_depth);
}

}  // namespace fabric::detail
