// The functions and classes that a pickle may name, and what the reader makes of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <c10/core/ScalarType.h>

namespace fabric::detail {

enum class PickleFunction : std::uint8_t {
  // containers and values
  ordered_dict,
  counter,
  default_dict,
  set,
  frozenset,
  complex,
  bytes,
  bytearray,
  encode,         // _codecs.encode: how protocol 2 writes bytes
  builtin_class,  // list, dict …: what a defaultdict fills itself with
  size,
  device,
  layout,
  dtype,
  // tensors
  storage,
  untyped_storage,
  tensor_class,     // torch.Tensor, in arguments
  parameter_class,  // torch.nn.Parameter, in arguments and called
  rebuild_tensor,   // also _v2, which says more
  rebuild_tensor_v3,
  rebuild_parameter,  // also _with_state
  rebuild_from_type,
  rebuild_from_cpu,
  // classes of PickleReaderOptions
  get_attribute,
  plain_class,
};

struct PickleGlobal {
  PickleFunction function{};
  c10::ScalarType dtype = c10::ScalarType::Undefined;  ///< of a dtype, or a class of storages
  std::string name;                                    ///< "torch._utils._rebuild_tensor_v2"
};

/// The full name of a global, as Python 3 has it.
std::string pickle_global_name(std::string_view module, std::string_view name);

/// Nothing for what is not on the list. `module` and `name` as pickles of Python 2 and 3 have them.
std::optional<PickleGlobal> find_pickle_global(std::string_view module, std::string_view name);

/// What a global that PyTorch itself would accept stands for where a StateValue cannot hold it ("a
/// quantised tensor"); empty for all others.
std::string_view refused_pickle_global(std::string_view full_name);

}  // namespace fabric::detail
