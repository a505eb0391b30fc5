// Which runs of bytes a file holds for a list of tensors: what they share in memory they share in
// the file, and nothing else of their storage goes along.
#pragma once

#include <cstdint>
#include <vector>

#include <fabric/checkpoint/io/blobs.h>
#include <fabric/checkpoint/stored_tensor.h>

namespace fabric::detail {

/// Where one tensor lies.
struct StoredPlace {
  std::size_t storage = 0;
  std::int64_t offset = 0;  ///< of its first element in the storage, in elements
  std::vector<std::int64_t> strides{};
};

struct StoragePlan {
  std::vector<Blob> storages;       ///< their offsets in the file are left to it
  std::vector<StoredPlace> places;  ///< of each tensor
};

/// For files that know strides: tensors of one dtype whose elements overlap share a storage that
/// reaches from the first of their bytes to the last; every other tensor (and one that comes several
/// times) has one of exactly its elements, in the order of its memory; one with gaps is packed row by
/// row, one whose elements repeat keeps its strides.
/// @throws CheckpointError for a tensor whose storage is freed
StoragePlan plan_shared_storages(const std::vector<StoredTensor>& tensors);

/// For files that know none: every tensor row by row. Tensors that are the same elements in the same
/// shape and dtype share a storage; others that overlap are written twice.
StoragePlan plan_row_major(const std::vector<StoredTensor>& tensors);

/// The strides of a tensor whose rows follow each other.
std::vector<std::int64_t> row_major_strides(at::IntArrayRef sizes);

/// Whether a tensor's rows follow each other without gaps.
bool is_row_major(const StoredTensor& tensor);

}  // namespace fabric::detail
