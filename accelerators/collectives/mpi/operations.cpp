#include <accelerators/collectives/mpi/operations.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include <accelerators/collectives/mpi/mpi_error.h>

namespace fabric::mpi::detail {
namespace {

// Open MPI's reductions fall out of the cache above 4 MB: 2 MB pieces run at 3.4 GB/s between two
// ranks, one piece of 128 MB at 0.75. Pieces also keep counts below 2^31.
constexpr std::int64_t kReducePiece = std::int64_t{2} << 20;
// Copies gain nothing from small pieces; this one only keeps counts below 2^31.
constexpr std::int64_t kCopyPiece = std::int64_t{1} << 30;
// A message between two ranks of an exchange, small enough to be reduced while in the cache.
constexpr std::int64_t kExchangePiece = std::int64_t{512} << 10;
constexpr int kExchangeTag = 1;

char* at(void* base, std::int64_t bytes) {
  return static_cast<char*>(base) + bytes;
}
const char* at(const void* base, std::int64_t bytes) {
  return static_cast<const char*>(base) + bytes;
}

// A block of `bytes` bytes in slices of `stride` bytes, so that displacements beyond 2^31 work.
class SliceType {
 public:
  SliceType(std::int64_t bytes, std::int64_t stride) {
    MPI_Datatype block = MPI_DATATYPE_NULL;
    check(MPI_Type_contiguous(static_cast<int>(bytes), MPI_BYTE, &block), "MPI_Type_contiguous");
    const int code = MPI_Type_create_resized(block, 0, stride, &type_);
    MPI_Type_free(&block);
    check(code, "MPI_Type_create_resized");
    check(MPI_Type_commit(&type_), "MPI_Type_commit");
  }
  ~SliceType() { MPI_Type_free(&type_); }
  SliceType(const SliceType&) = delete;
  SliceType& operator=(const SliceType&) = delete;
  MPI_Datatype get() const { return type_; }

 private:
  MPI_Datatype type_ = MPI_DATATYPE_NULL;
};

// Every rank sends each other rank that one's slice and adds up what it receives for its own. Each
// slice is summed by one rank in one order, so all see the same bits.
void exchange_and_reduce(const Group& group, void* output, const void* input, std::int64_t count,
                         const Reduction& reduction) {
  const std::int64_t item = static_cast<std::int64_t>(reduction.item);
  const std::int64_t slice = count * item;
  const std::int64_t step = std::min(count, kExchangePiece / item);
  // Not value-initialised: it is received into before it is read.
  const std::unique_ptr<char[]> received(new char[step * item]);
  for (std::int64_t begin = 0; begin < count; begin += step) {
    const int n = static_cast<int>(std::min(step, count - begin));
    char* own = at(output, begin * item);
    const char* given = at(input, group.rank * slice + begin * item);
    if (own != given) {
      std::memcpy(own, given, n * item);
    }
    for (int shift = 1; shift < group.size; ++shift) {
      const int to = (group.rank + shift) % group.size;
      const int from = (group.rank - shift + group.size) % group.size;
      check(MPI_Sendrecv(at(input, to * slice + begin * item), n, reduction.type, to, kExchangeTag,
                         received.get(), n, reduction.type, from, kExchangeTag, group.comm,
                         MPI_STATUS_IGNORE),
            "MPI_Sendrecv");
      check(MPI_Reduce_local(received.get(), own, n, reduction.type, reduction.op),
            "MPI_Reduce_local");
    }
    if (reduction.divide != nullptr) {
      reduction.divide(own, n, group.size);
    }
  }
}

}  // namespace

void all_reduce(const Group& group, void* data, std::int64_t count, const Reduction& reduction) {
  if (group.size == 1) {
    return;
  }
  const std::int64_t item = static_cast<std::int64_t>(reduction.item);
  const std::int64_t step = kReducePiece / item;
  for (std::int64_t begin = 0; begin < count; begin += step) {
    const int n = static_cast<int>(std::min(step, count - begin));
    char* piece = at(data, begin * item);
    check(MPI_Allreduce(MPI_IN_PLACE, piece, n, reduction.type, reduction.op, group.comm),
          "MPI_Allreduce");
    if (reduction.divide != nullptr) {
      reduction.divide(piece, n, group.size);
    }
  }
}

void broadcast(const Group& group, void* data, std::int64_t bytes, int source) {
  if (group.size == 1) {
    return;
  }
  for (std::int64_t begin = 0; begin < bytes; begin += kCopyPiece) {
    const int n = static_cast<int>(std::min(kCopyPiece, bytes - begin));
    check(MPI_Bcast(at(data, begin), n, MPI_BYTE, source, group.comm), "MPI_Bcast");
  }
}

void all_gather(const Group& group, void* output, const void* input, std::int64_t bytes) {
  char* own = at(output, group.rank * bytes);
  const bool in_place = own == input;
  if (group.size == 1) {
    if (!in_place && bytes > 0) {
      std::memcpy(own, input, bytes);
    }
    return;
  }
  if (bytes > 0 && bytes <= kCopyPiece) {
    const int n = static_cast<int>(bytes);
    check(MPI_Allgather(in_place ? MPI_IN_PLACE : input, n, MPI_BYTE, output, n, MPI_BYTE,
                        group.comm),
          "MPI_Allgather");
    return;
  }
  for (std::int64_t begin = 0; begin < bytes; begin += kCopyPiece) {
    const std::int64_t n = std::min(kCopyPiece, bytes - begin);
    const SliceType slices(n, bytes);
    check(MPI_Allgather(in_place ? MPI_IN_PLACE : at(input, begin), static_cast<int>(n), MPI_BYTE,
                        at(output, begin), 1, slices.get(), group.comm),
          "MPI_Allgather");
  }
}

void reduce_scatter(const Group& group, void* output, const void* input, std::int64_t count,
                    const Reduction& reduction) {
  const std::int64_t slice = count * static_cast<std::int64_t>(reduction.item);
  const bool in_place = output == at(input, group.rank * slice);
  if (group.size == 1) {
    if (!in_place && slice > 0) {
      std::memcpy(output, input, slice);
    }
    return;
  }
  // MPI's own in-place form overwrites the whole input, ours must not. Few ranks or long messages
  // are best served by a direct exchange; many ranks and short messages by MPI's trees.
  if (in_place || group.size <= 4 || slice * group.size > kReducePiece) {
    exchange_and_reduce(group, output, input, count, reduction);
    return;
  }
  if (count == 0) {
    return;
  }
  check(MPI_Reduce_scatter_block(input, output, static_cast<int>(count), reduction.type,
                                 reduction.op, group.comm),
        "MPI_Reduce_scatter_block");
  if (reduction.divide != nullptr) {
    reduction.divide(output, count, group.size);
  }
}

void barrier(const Group& group) {
  if (group.size > 1) {
    check(MPI_Barrier(group.comm), "MPI_Barrier");
  }
}

}  // namespace fabric::mpi::detail
