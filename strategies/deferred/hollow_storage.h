// Storages without memory, which know how their values come about.
#pragma once

#include <memory>

#include <ATen/core/Tensor.h>

#include <strategies/deferred/tape.h>

namespace fabric {

/// What hangs on such a storage in place of its data, and goes with it.
struct HollowStorage {
  std::shared_ptr<Tape> tape;
  std::size_t number;  ///< on the tape
};

/// What hangs on the storage of a meta tensor; null where nothing does, and for other tensors.
const HollowStorage* hollow_storage_of(const at::Tensor& tensor);

/// Makes the storage of a meta tensor one of `tape`. Raw access to it throws from now on.
void make_hollow(const at::Tensor& tensor, const std::shared_ptr<Tape>& tape);

/// Where a tensor lies on its hollow storage.
TapeView tape_view(const at::Tensor& tensor);

/// What an operator returned, and lies on a hollow storage that it has made.
/// @param number of the tensor among all that it returned
TapeResult tape_result(std::size_t number, const at::Tensor& tensor);

/// A tensor as an operator takes it. A constant is the tensor itself as yet.
TapeTensor tape_tensor(const at::Tensor& tensor);

/// Makes sure of a constant's values: small ones are copied, the versions of others remembered.
void keep_constant(TapeTensor& tensor);

/// A deferred tensor that will have the values of a real one.
at::Tensor deferred_copy(const at::Tensor& constant, const std::shared_ptr<Tape>& tape);

}  // namespace fabric
