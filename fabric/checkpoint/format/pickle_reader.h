// Reads pickles as values: nothing that a pickle names is run. What it may name is a short list;
// all else is an error that says what it was.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <c10/core/ScalarType.h>

#include <fabric/checkpoint/state_value.h>
#include <fabric/checkpoint/stored_tensor.h>

namespace fabric::detail {

/// The longest pickle that is read and written: states are tensors, which lie outside.
inline constexpr std::int64_t kMostPickleBytes = std::int64_t{1} << 31;

/// What a pickle says of a storage; the bytes lie elsewhere.
struct PickleStorage {
  std::string key;          ///< "3"
  std::int64_t nbytes = 0;  ///< as the pickle has it
};

struct PickleReaderOptions {
  /// The bytes of a storage, asked for once a key. Without, a pickle with tensors is an error.
  /// @throws CheckpointError where there are none, or not as many
  std::function<std::shared_ptr<const TensorBytes>(const PickleStorage&)> storage{};
  /// Full names of classes ("pathlib.PosixPath") whose objects come as dictionaries: the fields of
  /// their state, or "__state__" where that is no dictionary; "__args__" (a tuple) where they were
  /// made with arguments; "__name__" for a member of an enum that is pickled by name; and always
  /// "__class__", the full name. A class itself, where it stands as a value, has "__class__" alone.
  std::vector<std::string> plain_classes{};
  /// Containers inside containers.
  int max_depth = 256;
};

/// Reads a pickle of protocol 2 to 5, as Python's pickle and torch.save write them.
///
/// Values that a pickle shares become copies, up to a limit that grows with its length. Attributes
/// of OrderedDicts and tensors are dropped, Counters and defaultdicts become dictionaries, layouts
/// their names ("torch.strided").
/// @param name what texts call it ("model/data.pkl of model.pt")
/// @throws CheckpointError for a pickle that is cut off or damaged, cycles, values nested too deep
/// or
///         shared too often, tensors that reach over their storage, and everything a StateValue
///         cannot hold: unknown globals, quantised, sparse and nested tensors, subclasses, storages
StateValue read_pickle(std::string_view pickle, const std::string& name,
                       const PickleReaderOptions& options = {});

}  // namespace fabric::detail
