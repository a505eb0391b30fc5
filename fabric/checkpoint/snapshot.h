// A state as it is at one moment, while the program goes on and changes it.
//
// Nothing is copied at that moment. Writing reads tensors where they lie, piece by piece; whoever is
// about to change them (a step of an optimizer, an average, a load) says so first, and what has not
// been read by then is copied aside. A save that is done before the next step copies nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <fabric/checkpoint/state_value.h>

namespace fabric::detail {

class Snapshot {
 public:
  /// Replaces the tensors of `state` by what they are now. Large ones on the host whose writers all
  /// announce themselves (StoredTensor::announced) stay where they are; others are copied. Only one
  /// snapshot lives at a time.
  static std::shared_ptr<Snapshot> take(StateValue& state);
  ~Snapshot();

  /// Comes before tensors of models, optimizers or averages are written, on the thread that does it.
  /// Returns when what the snapshot still needs has been copied. Costs nothing where there is none.
  static void before_write();
  /// The same for a write that is noticed only when others may have happened: of a step that went
  /// past its handle. The snapshot is then good only if nothing of optimizers was still needed.
  static void before_unannounced_write(const std::string& what);

  /// @throws CheckpointError where such a write may have spoilt it
  void check() const;

  /// Milliseconds that writers have waited in `before_write` so far; benchmarks read them.
  static double waited_ms();

 private:
  friend class SnapshotBytes;
  struct Run;
  Snapshot();
  void copy_rest();

  struct Shared;
  std::shared_ptr<Shared> shared_;
};

}  // namespace fabric::detail
