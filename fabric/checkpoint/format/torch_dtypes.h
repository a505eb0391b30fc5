// Dtypes by the names that pickles of PyTorch have for them.
#pragma once

#include <string_view>

#include <c10/core/ScalarType.h>

namespace fabric::detail {

struct TorchDtype {
  c10::ScalarType dtype;
  std::string_view name;       ///< in Python's module torch ("float32")
  std::string_view storage{};  ///< class of its storages ("FloatStorage"); empty: UntypedStorage
  /// Whether a dense tensor can have it: neither quantised nor one of the dtypes without operators.
  bool dense = true;
};

/// Null for a dtype that has no name in pickles.
const TorchDtype* find_torch_dtype(c10::ScalarType dtype);
const TorchDtype* find_torch_dtype(std::string_view name);
/// By the class of its storages.
const TorchDtype* find_torch_storage(std::string_view storage);

}  // namespace fabric::detail
