// What the functions and classes that a pickle may call give, without running any of them.
#pragma once

#include <span>

#include <fabric/checkpoint/format/pickle_graph.h>
#include <fabric/checkpoint/format/pickle_reader.h>

namespace fabric::detail {

/// The node of `function(*arguments)`.
/// @throws CheckpointError for functions that nothing calls (dtypes, classes of storages), and for
///         arguments that the function does not take
PickleId call_pickle_global(PickleGraph& graph, PickleId function, PickleId arguments);

/// The node of a storage that lies outside: ("storage", type, key, location, elements). Its location
/// does not count: everything is read to the CPU.
PickleId load_pickle_storage(PickleGraph& graph, std::span<const PickleId> id,
                             const PickleReaderOptions& options);

/// The node of `torch._utils._rebuild_tensor…(*arguments)`.
/// @throws CheckpointError for a tensor that reaches over its storage
PickleId rebuild_pickle_tensor(PickleGraph& graph, std::span<const PickleId> arguments,
                               bool with_dtype);

/// The node of a tensor. @throws CheckpointError for integers that require grad
PickleId add_pickle_tensor(PickleGraph& graph, StoredTensor tensor, bool requires_grad);

}  // namespace fabric::detail
