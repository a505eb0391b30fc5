#include <fabric/checkpoint/snapshot.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <accelerators/error.h>
#include <accelerators/ordinary_scope.h>
#include <fabric/checkpoint/io/blobs.h>
#include <fabric/checkpoint/staging.h>
#include <strategies/write_announcement.h>

namespace fabric::detail {
namespace {

// What is copied aside, or read, at once.
constexpr std::int64_t kPiece = std::int64_t{4} << 20;
// Smaller tensors are copied when the snapshot is taken.
constexpr std::int64_t kLarge = std::int64_t{64} << 10;

std::mutex current_mutex;
std::weak_ptr<Snapshot>& current() {
  static std::weak_ptr<Snapshot> snapshot;
  return snapshot;
}
std::shared_ptr<Snapshot> living() {
  const std::lock_guard lock(current_mutex);
  return current().lock();
}

std::atomic<double> all_waited_ms{0};

std::uint32_t version_of(const at::Tensor& tensor) {
  return tensor.is_inference() ? 0
                               : tensor.unsafeGetTensorImpl()->version_counter().current_version();
}

}  // namespace

// A run of memory that the snapshot needs.
struct Snapshot::Run {
  enum State { needed, copying, copied, done };
  struct Piece {
    State state = needed;
    int readers = 0;
    char* copy = nullptr;
  };

  const char* from = nullptr;
  std::int64_t size = 0;
  bool of_optimizer = false;
  bool announced = false;  // all writes from now on
  bool safe = false;       // all of it was read before any write
  std::vector<Piece> pieces;
  at::Tensor owner;           // keeps the memory
  std::uint32_t version = 0;  // of the owner when the snapshot was taken

  std::int64_t size_of(std::size_t piece) const {
    return std::min(kPiece, size - static_cast<std::int64_t>(piece) * kPiece);
  }
  // Pieces are read front to back.
  void let_go(std::size_t piece, bool last) {
    --pieces[piece].readers;
    if (last) {
      pieces[piece].state = done;
    }
    safe = safe || (version_of(owner) == version &&
                    std::all_of(pieces.begin(), pieces.end(), [](const Piece& each) {
                      return each.state == done || each.state == copied;
                    }));
  }
};

struct Snapshot::Shared {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::unique_ptr<Run>> runs;
  std::vector<std::shared_ptr<char>> staging;
  std::string spoilt_by;
};

// The bytes of one tensor in a snapshot: where it lies, or where it was copied to.
class SnapshotBytes final : public TensorBytes {
 public:
  SnapshotBytes(std::shared_ptr<Snapshot::Shared> shared, Snapshot::Run& run)
      : shared_(std::move(shared)), run_(run) {}

  std::int64_t size() const override { return run_.size; }

  // One piece in place; what reaches over several is read.
  std::shared_ptr<const void> hold(std::int64_t begin, std::int64_t count) const override {
    const auto index = static_cast<std::size_t>(begin / kPiece);
    if (count == 0 || static_cast<std::size_t>((begin + count - 1) / kPiece) != index) {
      return nullptr;
    }
    Snapshot::Run::Piece& piece = run_.pieces[index];
    const std::int64_t offset = begin - static_cast<std::int64_t>(index) * kPiece;
    std::unique_lock lock(shared_->mutex);
    shared_->changed.wait(lock, [&] { return piece.state != Snapshot::Run::copying; });
    if (piece.copy != nullptr) {
      return {shared_, piece.copy + offset};
    }
    ++piece.readers;
    return {static_cast<const void*>(run_.from + begin),
            [shared = shared_, &run = run_, index,
             last = offset + count == run_.size_of(index)](const void*) {
              const std::lock_guard end(shared->mutex);
              run.let_go(index, last);
              shared->changed.notify_all();
            }};
  }

  void read(std::int64_t begin, std::int64_t count, void* to) const override {
    auto* next = static_cast<char*>(to);
    while (count > 0) {
      const std::int64_t part = std::min(count, kPiece - begin % kPiece);
      std::memcpy(next, hold(begin, part).get(), static_cast<std::size_t>(part));
      begin += part;
      count -= part;
      next += part;
    }
  }

 private:
  std::shared_ptr<Snapshot::Shared> shared_;
  Snapshot::Run& run_;
};

Snapshot::Snapshot() : shared_(std::make_shared<Shared>()) {}

Snapshot::~Snapshot() {
  write_listener = nullptr;
}

namespace {

template <class Visit>
void for_each_tensor(StateValue& value, Visit&& visit) {
  if (value.is_tensor()) {
    visit(std::get<StoredTensor>(value.variant()));
  } else if (value.is_list()) {
    for (StateValue& element : value.list()) {
      for_each_tensor(element, visit);
    }
  } else if (value.is_dict()) {
    for (auto& [key, element] : value.dict()) {
      for_each_tensor(element, visit);
    }
  }
}

// Of a device's tensor into page-locked memory, which LibTorch keeps from one save to the next; all
// of them are waited for together.
at::Tensor copy_of(const StoredTensor& tensor, std::vector<c10::Device>& devices) {
  if (tensor.bytes()->data() != nullptr || tensor.bytes()->group() != nullptr) {
    return tensor.clone();
  }
  const at::Tensor owner = tensor.bytes()->owner();
  if (!owner.defined() || owner.is_cpu()) {
    return tensor.clone();
  }
  const at::Tensor source = owner.as_strided(tensor.sizes(), tensor.strides(), tensor.offset());
  if (std::find(devices.begin(), devices.end(), source.device()) == devices.end()) {
    devices.push_back(source.device());
  }
  const at::Tensor copy =
      at::empty_strided(source.sizes(), source.strides(),
                        at::TensorOptions().dtype(source.dtype()).pinned_memory(true));
  copy.copy_(source, /*non_blocking=*/true);
  return copy;
}

}  // namespace

std::shared_ptr<Snapshot> Snapshot::take(StateValue& state) {
  std::shared_ptr<Snapshot> snapshot(new Snapshot);
  // Names of one tensor stay names of one.
  std::map<std::pair<const void*, std::int64_t>, std::shared_ptr<const TensorBytes>> runs;
  using Elements = std::tuple<const void*, at::ScalarType, std::int64_t, std::vector<std::int64_t>,
                              std::vector<std::int64_t>>;
  std::map<Elements, StoredTensor> copies;
  const OrdinaryScope ordinary;
  std::vector<c10::Device> devices;  // that copies are under way from
  for_each_tensor(state, [&](StoredTensor& tensor) {
    const auto* memory = static_cast<const char*>(tensor.bytes()->data());
    const std::int64_t item = static_cast<std::int64_t>(c10::elementSize(tensor.dtype()));
    const bool in_place = memory != nullptr && tensor.announced() && tensor.is_dense() &&
                          tensor.nbytes() >= kLarge && tensor.bytes()->owner().defined();
    StoredTensor taken = tensor;
    if (in_place) {
      auto& bytes = runs[{memory + tensor.offset() * item, tensor.nbytes()}];
      if (!bytes) {
        auto run = std::make_unique<Run>();
        run->from = memory + tensor.offset() * item;
        run->size = tensor.nbytes();
        run->of_optimizer = tensor.writer == StoredTensor::Writer::optimizer;
        run->pieces.resize(static_cast<std::size_t>((run->size + kPiece - 1) / kPiece));
        run->owner = tensor.bytes()->owner();
        run->version = version_of(run->owner);
        bytes = std::make_shared<SnapshotBytes>(snapshot->shared_, *run);
        snapshot->shared_->runs.push_back(std::move(run));
      }
      taken = StoredTensor(tensor.dtype(), tensor.sizes().vec(), tensor.strides().vec(), 0, bytes);
    } else {
      const Elements elements{tensor.bytes()->identity(), tensor.dtype(), tensor.offset(),
                              tensor.sizes().vec(), tensor.strides().vec()};
      const auto known = copies.find(elements);
      taken = known != copies.end() ? known->second : StoredTensor(copy_of(tensor, devices));
      copies.emplace(elements, taken);
    }
    taken.requires_grad = tensor.requires_grad;
    taken.replicated = tensor.replicated;
    tensor = std::move(taken);
  });
  for (const c10::Device device : devices) {
    const c10::impl::VirtualGuardImpl guard(device.type());
    guard.getStream(device).synchronize();
  }
  if (!snapshot->shared_->runs.empty()) {
    static const WriteListener listener{&Snapshot::on_write, &Snapshot::on_late_write};
    const std::lock_guard lock(current_mutex);
    current() = snapshot;
    write_listener = &listener;
  }
  return snapshot;
}

void Snapshot::copy_rest() {
  const auto each_piece = [this](const auto& visit) {
    for (const auto& run : shared_->runs) {
      for (std::size_t i = 0; i < run->pieces.size(); ++i) {
        visit(*run, i);
      }
    }
  };
  struct Rest {
    Run* run;
    std::size_t piece;
    std::size_t place;
  };
  std::unique_lock lock(shared_->mutex);
  while (true) {
    std::vector<Rest> rest;
    std::size_t bytes = 0;
    bool busy = false;
    each_piece([&](Run& run, std::size_t i) {
      Run::Piece& piece = run.pieces[i];
      busy = busy || piece.readers > 0;
      if (piece.state == Run::needed && piece.readers == 0) {
        piece.state = Run::copying;
        rest.push_back({&run, i, bytes});
        bytes += static_cast<std::size_t>(run.size_of(i));
      }
    });
    if (!rest.empty()) {
      lock.unlock();
      const std::shared_ptr<char> staging = staging_memory(bytes);
      run_parallel(rest.size(), [&](std::size_t i) {
        const auto [run, piece, place] = rest[i];
        char* copy = staging.get() + place;
        std::memcpy(copy, run->from + static_cast<std::int64_t>(piece) * kPiece,
                    static_cast<std::size_t>(run->size_of(piece)));
        const std::lock_guard done(shared_->mutex);
        run->pieces[piece].copy = copy;
        run->pieces[piece].state = Run::copied;
        shared_->changed.notify_all();
      });
      lock.lock();
      shared_->staging.push_back(staging);
    } else if (busy) {
      shared_->changed.wait(lock);  // what is being read now is done in a moment
    } else {
      return;
    }
  }
}

void Snapshot::on_write() {
  if (const auto snapshot = living()) {
    snapshot->before_write();
  }
}

void Snapshot::on_late_write(const std::string& what) {
  if (const auto snapshot = living()) {
    snapshot->late_write(what);
    snapshot->before_write();
  }
}

void Snapshot::before_write() {
  const auto begin = std::chrono::steady_clock::now();
  check_versions();
  copy_rest();
  write_listener = nullptr;  // what follows changes nothing that is still needed
  const std::chrono::duration<double, std::milli> waited = std::chrono::steady_clock::now() - begin;
  all_waited_ms = all_waited_ms + waited.count();
}

void Snapshot::late_write(const std::string& what) {
  const std::lock_guard lock(shared_->mutex);
  for (const auto& run : shared_->runs) {
    const bool late = run->of_optimizer && std::any_of(run->pieces.begin(), run->pieces.end(),
                                                       [](const Run::Piece& piece) {
                                                         return piece.state == Run::needed;
                                                       });
    if (late) {
      shared_->spoilt_by = what;
    }
  }
}

// Looks for writes since the snapshot was taken, of what is not safe in a copy or a file.
void Snapshot::check_versions() {
  const std::lock_guard lock(shared_->mutex);
  for (const auto& run : shared_->runs) {
    if (!run->announced && !run->safe && version_of(run->owner) != run->version) {
      shared_->spoilt_by =
          detail::str("a tensor of shape ", run->owner.sizes(), " was written in place");
    }
    run->announced = true;  // from here on others may write
  }
}

void Snapshot::check() {
  check_versions();
  const std::lock_guard lock(shared_->mutex);
  FABRIC_CHECK(
      Checkpoint, shared_->spoilt_by.empty(), "[fabric.save] ", shared_->spoilt_by,
      " while a save ran beside the program, which could not keep the state as it was. ",
      "Hint: step the handle that fabric.setup_optimizers returned (a step of the optimizer ",
      "itself goes past it), or save without async.");
}

double Snapshot::waited_ms() {
  return all_waited_ms;
}

}  // namespace fabric::detail
