#include <fabric/checkpoint/format/stored_chunk.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include <ATen/ATen.h>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/storage_plan.h>
#include <fabric/checkpoint/io/checksum.h>

namespace fabric::detail {
namespace {

// What is read of a chunk at once before it goes to its rows.
constexpr std::int64_t kStaging = std::int64_t{4} << 20;

}  // namespace

StoredChunk::StoredChunk(TensorChunk chunk, const ChunkedTensor& whole)
    : chunk_(std::move(chunk)),
      whole_(whole),
      item_(static_cast<std::int64_t>(c10::elementSize(whole.dtype))),
      size_(item_) {
  const std::vector<std::int64_t> strides = row_major_strides(whole_.sizes);
  // Dimensions that are covered from end to end join the one before them.
  std::size_t outer = chunk_.sizes.size();
  run_ = item_;
  while (outer > 0) {
    --outer;
    run_ *= chunk_.sizes[outer];
    if (chunk_.sizes[outer] != whole_.sizes[outer]) {
      break;
    }
  }
  for (std::size_t i = 0; i < chunk_.sizes.size(); ++i) {
    size_ *= chunk_.sizes[i];
    first_ += chunk_.offsets[i] * strides[i] * item_;
    if (i < outer) {
      outer_sizes_.push_back(chunk_.sizes[i]);
      outer_strides_.push_back(strides[i] * item_);
    }
  }
  runs_ = size_ / run_;
}

void StoredChunk::read(std::int64_t begin, std::int64_t end, char* to) const {
  // Runs that reach into the range: from the first that ends behind its beginning to the last that
  // begins before its end.
  std::int64_t run = first_run_behind(begin);
  const std::int64_t behind = first_run_behind(end - 1 + run_);
  if (run >= behind) {
    return;
  }
  std::int64_t local = run * run_ + std::max<std::int64_t>(0, begin - begin_of(run));
  const std::int64_t last_local = (behind - 1) * run_ + std::min(run_, end - begin_of(behind - 1));
  const Source& source = opened();
  std::unique_ptr<char[]> staging;
  const bool checked = local == 0 && last_local == size_ && source.checksum.has_value();
  std::uint32_t crc = 0;
  while (local < last_local) {
    run = local / run_;
    const std::int64_t in_run = local - run * run_;
    // A long run goes straight to its place, short ones many at once.
    std::int64_t count = std::min(run_ - in_run, last_local - local);
    char* place = to + (begin_of(run) + in_run - begin);
    const bool straight = count >= kStaging || count == last_local - local;
    if (!straight) {
      count = std::min(kStaging, last_local - local);
      if (!staging) {
        staging = std::make_unique_for_overwrite<char[]>(static_cast<std::size_t>(kStaging));
      }
      place = staging.get();
    }
    source.read(local, count, place);
    if (checked) {
      crc = crc32(place, static_cast<std::size_t>(count), crc);
    }
    if (!straight) {
      scatter(place, local, count, begin, to);
    }
    local += count;
  }
  FABRIC_CHECK(Checkpoint, !checked || crc == *source.checksum, "[fabric.load] ",
               source.bytes->name(), " is damaged: its checksum is another than when it was ",
               "written. It holds a part of ", whole_.name);
}

std::int64_t StoredChunk::good_end(std::int64_t begin, std::int64_t most) const {
  const Source& source = opened();
  if (source.packed.defined() || source.checksum) {
    return last();  // as a whole
  }
  const std::int64_t place = source.offset - first_;  // of the tensor's byte 0
  return std::min(source.bytes->good_end(begin + place, most) - place, last());
}

std::shared_ptr<char> StoredChunk::lend(std::int64_t begin, std::int64_t count) const {
  const Source& source = opened();
  return source.packed.defined() ? nullptr : source.bytes->lend(source.offset + begin, count);
}

void StoredChunk::Source::read(std::int64_t begin, std::int64_t count, char* to) const {
  if (packed.defined()) {
    std::memcpy(to, static_cast<const char*>(packed.const_data_ptr()) + begin,
                static_cast<std::size_t>(count));
  } else {
    bytes->read(offset + begin, count, to);
  }
}

// Where a run begins in the tensor.
std::int64_t StoredChunk::begin_of(std::int64_t run) const {
  std::int64_t begin = first_;
  for (std::size_t i = outer_sizes_.size(); i-- > 0;) {
    begin += run % outer_sizes_[i] * outer_strides_[i];
    run /= outer_sizes_[i];
  }
  return begin;
}

// The first run that ends behind byte `begin` of the tensor; the number of runs if none does.
std::int64_t StoredChunk::first_run_behind(std::int64_t begin) const {
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

// Takes bytes of the chunk from byte `local` on to their runs.
void StoredChunk::scatter(const char* from, std::int64_t local, std::int64_t count,
                          std::int64_t begin, char* to) const {
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

const StoredChunk::Source& StoredChunk::opened() const {
  const std::lock_guard lock(mutex_);
  if (source_) {
    return *source_;
  }
  const StoredTensor tensor = chunk_.open();
  FABRIC_CHECK(Checkpoint,
               tensor.dtype() == whole_.dtype && tensor.sizes() == at::IntArrayRef(chunk_.sizes),
               "[fabric.load] a part of ", whole_.name, " is a tensor of shape ", tensor.sizes(),
               " and dtype ", c10::toString(tensor.dtype()), "; expected ",
               at::IntArrayRef(chunk_.sizes), " and ", c10::toString(whole_.dtype));
  Source source{tensor.bytes(), tensor.offset() * item_};
  if (!is_row_major(tensor)) {
    source.packed = tensor.clone().contiguous();
  } else if (source.offset == 0 && tensor.bytes()->size() == size_) {
    source.checksum = tensor.bytes()->checksum();
  }
  source_ = std::move(source);
  return *source_;
}

}  // namespace fabric::detail
