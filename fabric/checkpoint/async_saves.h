// The save that runs beside the program: at most one, whose end and errors all ranks meet together.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <thread>

#include <fabric/checkpoint/snapshot.h>
#include <fabric/collectives.h>

namespace fabric::detail {

struct StateJob;

/// Of one Fabric. Every rank has as many saves under way as the others, also those that write
/// nothing.
class AsyncSaves {
 public:
  /// @param group of its own, for ranks that agree while the program communicates; empty in a world
  ///        of one, and where MPI does not allow several threads
  explicit AsyncSaves(Communicators group) : group_(std::move(group)) {}
  /// Waits for a save under way, and says what went wrong; but not while an exception is on its way
  /// out: then the save is left to itself, as the process is.
  ~AsyncSaves();
  AsyncSaves(const AsyncSaves&) = delete;
  AsyncSaves& operator=(const AsyncSaves&) = delete;

  /// The communicators that `work` may use.
  const Communicators& group() const { return group_; }

  /// Runs `work` on a thread of its own.
  /// @param snapshot what it writes, kept until it is done
  void start(std::shared_ptr<Snapshot> snapshot, std::function<void()> work);
  /// Waits for the save under way. Collective.
  /// @throws CheckpointError on all ranks where it has failed on any
  void finish(const StateJob& job);
  bool under_way() const { return under_way_; }

 private:
  struct Save;
  std::exception_ptr join();

  Communicators group_;
  std::shared_ptr<Save> save_;
  std::thread thread_;
  bool under_way_ = false;
  int exceptions_at_birth_ = std::uncaught_exceptions();
};

}  // namespace fabric::detail
