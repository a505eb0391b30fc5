// Work of a device that is recorded once and queued again by one call.
#pragma once

#include <functional>

namespace fabric {

/// A recording on one device. Tensors that the work reads and writes stay where they were while it
/// was recorded; what it made then is written again by each replay.
class DeviceGraph {
 public:
  virtual ~DeviceGraph() = default;

  /// Runs `work` as it will be recorded, after what the current stream holds and before what comes:
  /// so that everything that is made once has been made.
  virtual void warm_up(const std::function<void()>& work) = 0;
  /// Records what `work` queues; nothing of it is computed. Waits for the device. What `work`
  /// throws passes through, and nothing is recorded then.
  virtual void record(const std::function<void()>& work) = 0;
  /// Queues what was recorded on the current stream.
  virtual void replay() = 0;
};

}  // namespace fabric
