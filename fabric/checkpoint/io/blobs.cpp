#include <fabric/checkpoint/io/blobs.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <unordered_map>

#include <accelerators/error.h>
#include <fabric/checkpoint/stored_bytes.h>

namespace fabric::detail {
namespace {

// Whether this thread works beside the program, which wants the other cores.
thread_local bool beside_program = false;

// What one thread writes before it looks for more.
constexpr std::int64_t kPiece = 4 * kChecksumChunk;

struct Piece {
  Blob* blob = nullptr;
  std::int64_t begin = 0;  // in the blob
  std::int64_t size = 0;
};

void write_piece(OutputFile& file, const Piece& piece) {
  Blob& blob = *piece.blob;
  std::shared_ptr<const void> held = blob.bytes->hold(blob.begin + piece.begin, piece.size);
  if (!held) {
    std::shared_ptr<char[]> copy =
        std::make_shared_for_overwrite<char[]>(static_cast<std::size_t>(piece.size));
    blob.bytes->read(blob.begin + piece.begin, piece.size, copy.get());
    held = copy;
  }
  const auto* from = static_cast<const char*>(held.get());
  // Chunk by chunk, so that the write finds in the cache what the checksum has read.
  for (std::int64_t done = 0; done < piece.size; done += kChecksumChunk) {
    const std::int64_t count = std::min(kChecksumChunk, piece.size - done);
    blob.checksums[static_cast<std::size_t>((piece.begin + done) / kChecksumChunk)] =
        crc32(from + done, static_cast<std::size_t>(count));
    file.write(blob.offset + piece.begin + done, from + done, count);
  }
  held.reset();
  if (piece.size >= kChecksumChunk) {  // asking costs more than a small piece
    file.start_writeback(blob.offset + piece.begin, piece.size);
  }
}

void write_all(OutputFile& file, const std::vector<Blob*>& blobs) {
  std::vector<Piece> pieces;
  for (Blob* blob : blobs) {
    for (std::int64_t begin = 0; begin < blob->size; begin += kPiece) {
      pieces.push_back({blob, begin, std::min(kPiece, blob->size - begin)});
    }
  }
  run_parallel(pieces.size(), [&](std::size_t i) { write_piece(file, pieces[i]); });
}

}  // namespace

std::uint32_t Blob::checksum() const {
  return checksum_of_chunks(checksums, size);
}

BesideProgram::BesideProgram() {
  beside_program = true;
}

BesideProgram::~BesideProgram() {
  beside_program = false;
}

void write_blobs(OutputFile* file, std::vector<Blob>& blobs) {
  std::vector<Blob*> ready;
  std::vector<std::pair<GatherGroup*, std::vector<Blob*>>> groups;  // in the order of the blobs
  std::unordered_map<GatherGroup*, std::size_t> group_index;
  for (Blob& blob : blobs) {
    blob.checksums.assign(
        static_cast<std::size_t>((blob.size + kChecksumChunk - 1) / kChecksumChunk), 0);
    GatherGroup* group = blob.bytes->group();
    if (group == nullptr) {
      ready.push_back(&blob);
      continue;
    }
    const auto [known, fresh] = group_index.try_emplace(group, groups.size());
    if (fresh) {
      groups.emplace_back(group, std::vector<Blob*>());
    }
    groups[known->second].second.push_back(&blob);
  }
  std::exception_ptr error;
  const auto write = [&](const std::vector<Blob*>& some) {
    if (file == nullptr || error) {
      return;
    }
    try {
      write_all(*file, some);
    } catch (...) {
      error = std::current_exception();  // the others still gather with this rank
    }
  };
  write(ready);
  for (const auto& [group, members] : groups) {
    const GatheredScope gathered(*members.front()->bytes);
    write(members);
  }
  if (error) {
    std::rethrow_exception(error);
  }
}

void read_blobs(const std::vector<BlobRead>& reads) {
  struct Part {
    const BlobRead* read = nullptr;
    std::int64_t begin = 0;  // in the read
    std::int64_t size = 0;
    std::uint32_t checksum = 0;
    bool checked = false;
  };
  std::vector<Part> parts;
  for (const BlobRead& read : reads) {
    const bool checked =
        read.size > 0 && read.size == read.bytes->size() && read.bytes->checksum().has_value();
    for (std::int64_t begin = 0; begin < read.size;) {
      const std::int64_t end = read.bytes->good_end(read.begin + begin, kPiece) - read.begin;
      const std::int64_t size = std::min(end, read.size) - begin;
      parts.push_back({&read, begin, size, 0, checked});
      begin += size;
    }
  }
  run_parallel(parts.size(), [&](std::size_t i) {
    Part& part = parts[i];
    char* to = static_cast<char*>(part.read->to) + part.begin;
    part.read->bytes->read(part.read->begin + part.begin, part.size, to);
    if (part.checked) {
      part.checksum = crc32(to, static_cast<std::size_t>(part.size));
    }
  });
  for (std::size_t i = 0; i < parts.size();) {
    const BlobRead& read = *parts[i].read;
    std::uint32_t all = 0;
    const bool checked = parts[i].checked;
    for (; i < parts.size() && parts[i].read == &read; ++i) {
      all = crc32_combine(all, parts[i].checksum, parts[i].size);
    }
    FABRIC_CHECK(Checkpoint, !checked || all == *read.bytes->checksum(), "[fabric.load] ",
                 read.bytes->name(), " is damaged: its checksum is another than when it was ",
                 "written; got ", std::hex, all, "; expected ", *read.bytes->checksum());
  }
}

void run_parallel(std::size_t count, const std::function<void(std::size_t)>& work) {
  std::atomic<std::size_t> next{0};
  std::exception_ptr error;
  std::mutex mutex;
  const auto run = [&] {
    try {
      for (std::size_t i = next++; i < count; i = next++) {
        work(i);
      }
    } catch (...) {
      next = count;
      const std::lock_guard lock(mutex);
      error = error ? error : std::current_exception();
    }
  };
  const std::size_t wanted =
      beside_program ? 1 : std::clamp<std::size_t>(std::thread::hardware_concurrency(), 2, 4);
  std::vector<std::thread> threads;
  for (std::size_t i = 1; i < std::min(wanted, count); ++i) {
    threads.emplace_back(run);
  }
  run();
  for (std::thread& thread : threads) {
    thread.join();
  }
  if (error) {
    std::rethrow_exception(error);
  }
}

}  // namespace fabric::detail
