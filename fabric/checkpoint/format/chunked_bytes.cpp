#include <fabric/checkpoint/format/chunked_bytes.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <numeric>
#include <optional>
#include <utility>

#include <ATen/ATen.h>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/storage_plan.h>
#include <fabric/checkpoint/io/checksum.h>

namespace fabric::detail {
namespace {

// What is read of a chunk at once before it goes to its rows.
constexpr std::int64_t kStaging = std::int64_t{4} << 20;

std::int64_t product(const std::vector<std::int64_t>& sizes, std::int64_t factor) {
  bool overflow = false;
  for (const std::int64_t size : sizes) {
    overflow = size < 0 || __builtin_mul_overflow(factor, size, &factor) || overflow;
  }
  return overflow ? -1 : factor;
}

}  // namespace

// A box as runs of bytes: each lies in one piece both in the chunk and in the tensor, where they come
// in the same order.
class ChunkedBytes::Chunk {
 public:
  Chunk(TensorChunk chunk, const ChunkedBytes& whole)
      : chunk_(std::move(chunk)), whole_(whole), size_(product(chunk_.sizes, item())) {
    const std::vector<std::int64_t> strides = row_major_strides(whole_.sizes_);
    // Dimensions that are covered from end to end join the one before them.
    std::size_t outer = chunk_.sizes.size();
    run_ = item();
    while (outer > 0) {
      --outer;
      run_ *= chunk_.sizes[outer];
      if (chunk_.sizes[outer] != whole_.sizes_[outer]) {
        break;
      }
    }
    for (std::size_t i = 0; i < chunk_.sizes.size(); ++i) {
      first_ += chunk_.offsets[i] * strides[i] * item();
      if (i < outer) {
        outer_sizes_.push_back(chunk_.sizes[i]);
        outer_strides_.push_back(strides[i] * item());
      }
    }
    runs_ = size_ / run_;
  }

  const TensorChunk& box() const { return chunk_; }
  std::int64_t size() const { return size_; }
  bool is_one_run() const { return runs_ == 1; }
  std::int64_t first() const { return first_; }
  std::int64_t last() const { return begin_of(runs_ - 1) + run_; }

  // Copies what lies in bytes [begin, end) of the tensor to its place behind `to`.
  void read(std::int64_t begin, std::int64_t end, char* to) const {
    // Runs that reach into the range: the first that ends behind its beginning, and so on.
    std::int64_t run = first_run_behind(begin);
    const std::int64_t behind = first_run_behind(end - 1 + run_);  // the first that begins at `end`
    if (run >= behind) {
      return;
    }
    std::int64_t local = run * run_ + std::max<std::int64_t>(0, begin - begin_of(run));
    const std::int64_t last_local =
        (behind - 1) * run_ + std::min(run_, end - begin_of(behind - 1));
    const Source& source = opened();
    std::unique_ptr<char[]> staging;
    std::optional<std::uint32_t> crc;
    if (local == 0 && last_local == size_ && source.checksum) {
      crc = 0;
    }
    while (local < last_local) {
      run = local / run_;
      const std::int64_t in_run = local - run * run_;
      // A long run goes straight to its place, short ones many at once.
      const std::int64_t rest = std::min(run_ - in_run, last_local - local);
      if (rest >= kStaging || rest == last_local - local) {
        char* place = to + (begin_of(run) + in_run - begin);
        source.read(local, rest, place);
        crc = crc ? std::optional(crc32(place, static_cast<std::size_t>(rest), *crc)) : crc;
        local += rest;
        continue;
      }
      const std::int64_t count = std::min(kStaging, last_local - local);
      if (!staging) {
        staging = std::make_unique_for_overwrite<char[]>(static_cast<std::size_t>(kStaging));
      }
      source.read(local, count, staging.get());
      crc = crc ? std::optional(crc32(staging.get(), static_cast<std::size_t>(count), *crc)) : crc;
      scatter(staging.get(), local, count, begin, to);
      local += count;
    }
    FABRIC_CHECK(Checkpoint, crc == (crc ? source.checksum : crc), "[fabric.load] ", source.name(),
                 " is damaged: its checksum is another than when it was written. It holds a part of ",
                 whole_.name_);
  }

  std::shared_ptr<char> lend(std::int64_t begin, std::int64_t count) const {
    const Source& source = opened();
    return source.packed.defined() ? nullptr : source.bytes->lend(source.offset + begin, count);
  }

 private:
  // Where the elements of a chunk lie one row after the other.
  struct Source {
    std::shared_ptr<const TensorBytes> bytes;
    std::int64_t offset = 0;
    std::optional<std::uint32_t> checksum{};  // of exactly these
    at::Tensor packed{};                      // of a chunk that is stored in another order

    void read(std::int64_t begin, std::int64_t count, char* to) const {
      if (packed.defined()) {
        std::memcpy(to, static_cast<const char*>(packed.const_data_ptr()) + begin,
                    static_cast<std::size_t>(count));
      } else {
        bytes->read(offset + begin, count, to);
      }
    }
    std::string name() const { return bytes->name(); }
  };

  std::int64_t item() const { return static_cast<std::int64_t>(c10::elementSize(whole_.dtype_)); }

  // Where a run begins in the tensor.
  std::int64_t begin_of(std::int64_t run) const {
    std::int64_t begin = first_;
    for (std::size_t i = outer_sizes_.size(); i-- > 0;) {
      begin += run % outer_sizes_[i] * outer_strides_[i];
      run /= outer_sizes_[i];
    }
    return begin;
  }

  // The first run that ends behind byte `begin` of the tensor; the number of runs if none does.
  std::int64_t first_run_behind(std::int64_t begin) const {
    std::int64_t low = 0;
    std::int64_t high = runs_;
    while (low < high) {
      const std::int64_t middle = low + (high - low) / 2;
      if (begin_of(middle) + run_ > begin) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  }

  void scatter(const char* from, std::int64_t local, std::int64_t count, std::int64_t begin,
               char* to) const {
    while (count > 0) {
      const std::int64_t run = local / run_;
      const std::int64_t in_run = local - run * run_;
      const std::int64_t some = std::min(count, run_ - in_run);
      std::memcpy(to + (begin_of(run) + in_run - begin), from, static_cast<std::size_t>(some));
      from += some;
      local += some;
      count -= some;
    }
  }

  const Source& opened() const {
    const std::lock_guard lock(mutex_);
    if (source_) {
      return *source_;
    }
    const StoredTensor tensor = chunk_.open();
    FABRIC_CHECK(Checkpoint,
                 tensor.dtype() == whole_.dtype_ && tensor.sizes() == at::IntArrayRef(chunk_.sizes),
                 "[fabric.load] a part of ", whole_.name_, " is a tensor of shape ", tensor.sizes(),
                 " and dtype ", c10::toString(tensor.dtype()), "; expected ",
                 at::IntArrayRef(chunk_.sizes), " and ", c10::toString(whole_.dtype_));
    Source source{tensor.bytes(), tensor.offset() * item()};
    if (!is_row_major(tensor)) {
      source.packed = tensor.clone().contiguous();
    } else if (source.offset == 0 && tensor.bytes()->size() == size_) {
      source.checksum = tensor.bytes()->checksum();
    }
    source_ = std::move(source);
    return *source_;
  }

  TensorChunk chunk_;
  const ChunkedBytes& whole_;
  std::int64_t size_;       // bytes of the chunk
  std::int64_t run_ = 0;    // bytes of a run
  std::int64_t runs_ = 0;
  std::int64_t first_ = 0;  // byte of the tensor at which the chunk begins
  std::vector<std::int64_t> outer_sizes_;  // dimensions that number the runs
  std::vector<std::int64_t> outer_strides_;
  mutable std::mutex mutex_;
  mutable std::optional<Source> source_;
};

ChunkedBytes::ChunkedBytes(std::string name, c10::ScalarType dtype,
                           std::vector<std::int64_t> sizes, std::vector<TensorChunk> chunks)
    : name_(std::move(name)), dtype_(dtype), sizes_(std::move(sizes)) {
  size_ = product(sizes_, static_cast<std::int64_t>(c10::elementSize(dtype_)));
  FABRIC_CHECK(Checkpoint, size_ >= 0, "[fabric.load] ", name_, " has the impossible shape ",
               at::IntArrayRef(sizes_));
  for (TensorChunk& chunk : chunks) {
    bool inside = chunk.offsets.size() == sizes_.size() && chunk.sizes.size() == sizes_.size();
    for (std::size_t i = 0; inside && i < sizes_.size(); ++i) {
      inside = chunk.offsets[i] >= 0 && chunk.sizes[i] >= 0 && chunk.offsets[i] <= sizes_[i] &&
               chunk.sizes[i] <= sizes_[i] - chunk.offsets[i];
    }
    FABRIC_CHECK(Checkpoint, inside, "[fabric.load] ", name_, " of shape ", at::IntArrayRef(sizes_),
                 " has a part of shape ", at::IntArrayRef(chunk.sizes), " at ",
                 at::IntArrayRef(chunk.offsets), ", which reaches outside");
    if (product(chunk.sizes, 1) > 0) {
      chunks_.push_back(std::make_unique<Chunk>(std::move(chunk), *this));
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
  FABRIC_CHECK(Checkpoint, bytes == size_, "[fabric.load] the parts of ", name_, " have ", bytes,
               " bytes; expected ", size_, ". Hint: parts are missing.");
  granularity_ = std::max<std::int64_t>(size_, 1);
  const bool rows = std::all_of(chunks_.begin(), chunks_.end(), [&](const auto& chunk) {
    return chunk->is_one_run() && chunk->first() % chunks_.front()->size() == 0 &&
           chunk->size() <= chunks_.front()->size();
  });
  if (rows && !chunks_.empty()) {
    granularity_ = chunks_.front()->size();
  }
}

ChunkedBytes::~ChunkedBytes() = default;

// Boxes that overlap do so in every dimension: those that begin in order along one of them need to be
// compared with their neighbours only.
void ChunkedBytes::check_boxes() const {
  if (chunks_.size() < 2) {
    return;
  }
  std::size_t along = 0;
  std::size_t most = 0;
  for (std::size_t i = 0; i < sizes_.size(); ++i) {
    std::vector<std::int64_t> begins;
    for (const auto& chunk : chunks_) {
      begins.push_back(chunk->box().offsets[i]);
    }
    std::sort(begins.begin(), begins.end());
    const auto different = static_cast<std::size_t>(
        std::unique(begins.begin(), begins.end()) - begins.begin());
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
      for (std::size_t d = 0; d < sizes_.size(); ++d) {
        apart = apart || a.offsets[d] >= b.offsets[d] + b.sizes[d] ||
                b.offsets[d] >= a.offsets[d] + a.sizes[d];
      }
      FABRIC_CHECK(Checkpoint, apart, "[fabric.load] the parts of ", name_, " at ",
                   at::IntArrayRef(a.offsets), " and ", at::IntArrayRef(b.offsets), " overlap");
    }
  }
}

void ChunkedBytes::read(std::int64_t begin, std::int64_t count, void* to) const {
  FABRIC_CHECK(Checkpoint, begin >= 0 && count >= 0 && begin <= size_ && count <= size_ - begin,
               "[fabric.load] ", name_, " has ", size_, " bytes; expected bytes ", begin, " to ",
               begin + count);
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
