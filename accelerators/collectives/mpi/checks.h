// What a collective accepts; the texts when it gets something else.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace fabric::mpi::detail {

/// Throws CommunicationError unless `tensor` is a dense contiguous CPU tensor.
/// @param where the collective, `argument` which tensor of it, for the text
void check_tensor(const char* where, const char* argument, const at::Tensor& tensor);

/// Throws unless `large` has `ranks` times the elements of `small`, and the same dtype.
void check_slices(const char* where, const at::Tensor& large, const char* large_name,
                  const at::Tensor& small, const char* small_name, int ranks);

/// Throws unless `got` equals `expected`.
void check_count(const char* where, const char* of_what, std::size_t got, std::size_t expected);

/// Throws unless every tensor of `list` has `like`'s element count and dtype and is acceptable.
void check_list(const char* where, const char* argument, const std::vector<at::Tensor>& list,
                const at::Tensor& like, int ranks);

void check_source(const char* where, std::int64_t source, int ranks);

}  // namespace fabric::mpi::detail
