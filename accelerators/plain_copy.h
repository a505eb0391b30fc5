// Copies of tensors past the dispatcher, whose price is that of copying 20 KB.
#pragma once

#include <cstring>

#include <ATen/core/Tensor.h>

namespace fabric::detail {

/// `to.copy_(from)` for dense tensors, of which autograd is to see nothing: as bytes where both lie
/// alike on the CPU. They must not overlap.
inline void copy_plain(const at::Tensor& to, const at::Tensor& from) {
  const bool alike = to.is_cpu() && from.is_cpu() && to.scalar_type() == from.scalar_type() &&
                     to.layout() == from.layout() && to.sizes() == from.sizes() &&
                     to.strides() == from.strides() && to.is_non_overlapping_and_dense() &&
                     to.is_neg() == from.is_neg() && to.is_conj() == from.is_conj();
  if (alike) {
    std::memcpy(to.mutable_data_ptr(), from.const_data_ptr(), to.nbytes());
  } else {
    to.copy_(from);
  }
}

}  // namespace fabric::detail
