// Waits that may take as long as they like.
#pragma once

#include <atomic>

namespace fabric {

/// While one lives in this process, waiting for other ranks is not taken for a hang: one rank does
/// long work that the others wait for (rank_zero_first).
class Patience {
 public:
  Patience() { ++alive_; }
  ~Patience() { --alive_; }
  Patience(const Patience&) = delete;
  Patience& operator=(const Patience&) = delete;

  static bool any() { return alive_ > 0; }

 private:
  inline static std::atomic<int> alive_{0};
};

}  // namespace fabric
