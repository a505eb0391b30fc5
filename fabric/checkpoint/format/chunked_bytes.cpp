#include <fabric/checkpoint/format/chunked_bytes.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include <accelerators/error.h>

namespace fabric::detail {
namespace {

std::int64_t product(const std::vector<std::int64_t>& sizes, std::int64_t factor) {
  bool overflow = false;
  for (const std::int64_t size : sizes) {
    overflow = size < 0 || __builtin_mul_overflow(factor, size, &factor) || overflow;
  }
  return overflow ? -1 : factor;
}

}  // namespace

ChunkedBytes::ChunkedBytes(std::string name, c10::ScalarType dtype, std::vector<std::int64_t> sizes,
                           std::vector<TensorChunk> chunks)
    : whole_{std::move(name), dtype, std::move(sizes)} {
  size_ = product(whole_.sizes, static_cast<std::int64_t>(c10::elementSize(dtype)));
  FABRIC_CHECK(Checkpoint, size_ >= 0, "[fabric.load] ", whole_.name, " has the impossible shape ",
               at::IntArrayRef(whole_.sizes));
  for (TensorChunk& chunk : chunks) {
    bool inside =
        chunk.offsets.size() == whole_.sizes.size() && chunk.sizes.size() == whole_.sizes.size();
    for (std::size_t i = 0; inside && i < whole_.sizes.size(); ++i) {
      inside = chunk.offsets[i] >= 0 && chunk.sizes[i] >= 0 &&
               chunk.offsets[i] <= whole_.sizes[i] &&
               chunk.sizes[i] <= whole_.sizes[i] - chunk.offsets[i];
    }
    FABRIC_CHECK(Checkpoint, inside, "[fabric.load] ", whole_.name, " of shape ",
                 at::IntArrayRef(whole_.sizes), " has a part of shape ",
                 at::IntArrayRef(chunk.sizes), " at ", at::IntArrayRef(chunk.offsets),
                 ", which reaches outside");
    if (product(chunk.sizes, 1) > 0) {
      chunks_.push_back(std::make_unique<StoredChunk>(std::move(chunk), whole_));
    }
  }
  // Replicas are one; then what does not overlap and has as many bytes leaves no gap.
  std::sort(chunks_.begin(), chunks_.end(), [](const auto& a, const auto& b) {
    return std::tie(a->box().offsets, a->box().sizes) < std::tie(b->box().offsets, b->box().sizes);
  });
  chunks_.erase(std::unique(chunks_.begin(), chunks_.end(),
                            [](const auto& a, const auto& b) {
                              return a->box().offsets == b->box().offsets &&
                                     a->box().sizes == b->box().sizes;
                            }),
                chunks_.end());
  check_boxes();
  std::int64_t bytes = 0;
  for (const auto& chunk : chunks_) {
    bytes += chunk->size();
  }
  FABRIC_CHECK(Checkpoint, bytes == size_, "[fabric.load] the parts of ", whole_.name, " have ",
               bytes, " bytes; expected ", size_, ". Hint: parts are missing.");
  runs_of_rows_ = std::all_of(chunks_.begin(), chunks_.end(),
                              [](const auto& chunk) { return chunk->is_one_run(); });
}

// Runs of rows lie in the order of their offsets.
std::int64_t ChunkedBytes::good_end(std::int64_t begin, std::int64_t most) const {
  if (!runs_of_rows_ || begin >= size_) {
    return size_;
  }
  const auto behind =
      std::upper_bound(chunks_.begin(), chunks_.end(), begin,
                       [](std::int64_t byte, const auto& chunk) { return byte < chunk->first(); });
  return (*std::prev(behind))->good_end(begin, most);
}

// Boxes that overlap do so in every dimension: those that begin in order along one of them need to
// be compared with their neighbours only.
void ChunkedBytes::check_boxes() const {
  if (chunks_.size() < 2) {
    return;
  }
  std::size_t along = 0;
  std::size_t most = 0;
  for (std::size_t i = 0; i < whole_.sizes.size(); ++i) {
    std::vector<std::int64_t> begins;
    for (const auto& chunk : chunks_) {
      begins.push_back(chunk->box().offsets[i]);
    }
    std::sort(begins.begin(), begins.end());
    const auto different =
        static_cast<std::size_t>(std::unique(begins.begin(), begins.end()) - begins.begin());
    if (different > most) {
      most = different;
      along = i;
    }
  }
  std::vector<const TensorChunk*> boxes;
  for (const auto& chunk : chunks_) {
    boxes.push_back(&chunk->box());
  }
  std::sort(boxes.begin(), boxes.end(), [&](const TensorChunk* a, const TensorChunk* b) {
    return a->offsets[along] < b->offsets[along];
  });
  for (std::size_t i = 0; i < boxes.size(); ++i) {
    for (std::size_t k = i + 1; k < boxes.size(); ++k) {
      const TensorChunk& a = *boxes[i];
      const TensorChunk& b = *boxes[k];
      if (b.offsets[along] >= a.offsets[along] + a.sizes[along]) {
        break;
      }
      bool apart = false;
      for (std::size_t d = 0; d < whole_.sizes.size(); ++d) {
        apart = apart || a.offsets[d] >= b.offsets[d] + b.sizes[d] ||
                b.offsets[d] >= a.offsets[d] + a.sizes[d];
      }
      FABRIC_CHECK(Checkpoint, apart, "[fabric.load] the parts of ", whole_.name, " at ",
                   at::IntArrayRef(a.offsets), " and ", at::IntArrayRef(b.offsets), " overlap");
    }
  }
}

void ChunkedBytes::read(std::int64_t begin, std::int64_t count, void* to) const {
  FABRIC_CHECK(Checkpoint, begin >= 0 && count >= 0 && begin <= size_ && count <= size_ - begin,
               "[fabric.load] ", whole_.name, " has ", size_, " bytes; expected bytes ", begin,
               " to ", begin + count);
  if (count == 0) {
    return;
  }
  for (const auto& chunk : chunks_) {
    if (chunk->first() < begin + count && chunk->last() > begin) {
      chunk->read(begin, begin + count, static_cast<char*>(to));
    }
  }
}

std::shared_ptr<char> ChunkedBytes::lend(std::int64_t begin, std::int64_t count) const {
  return chunks_.size() == 1 ? chunks_.front()->lend(begin, count) : nullptr;
}

}  // namespace fabric::detail
