// A state as it is at one moment, while the program goes on and changes it.
//
// Nothing is copied at that moment. Writing reads tensors where they lie, piece by piece; whoever
// is about to change them (a step of an optimizer, an average, a load) says so first
// (announce_write), and what has not been read by then is copied aside. A save that is done before
// the next step copies nothing. Writes that nobody announces are found out by the versions of
// tensors, and the save fails.
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

  /// @throws CheckpointError where a write that nobody announced may have spoilt it
  void check();

  /// Milliseconds that writers have waited in `before_write` so far; benchmarks read them.
  static double waited_ms();

 private:
  friend class SnapshotBytes;
  struct Run;
  struct Shared;

  Snapshot();
  void before_write();
  void late_write(const std::string& what);
  void copy_rest();
  void check_versions();
  static void on_write();
  static void on_late_write(const std::string& what);

  std::shared_ptr<Shared> shared_;
};

}  // namespace fabric::detail
