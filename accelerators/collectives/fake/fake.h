// A world whose other ranks do not exist: what a job does at any size, seen from its rank 0.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <vector>

#include <c10/util/intrusive_ptr.h>

namespace c10d {
class Backend;
}

namespace fabric::fake {

/// Makes this process rank 0 of `ranks`, `ranks_per_node` on each node. Communicators made from now
/// on are fake: collectives return at once, as if every rank had sent what this one has.
void join(int ranks, int ranks_per_node);
bool joined();

/// A fake backend of any device.
/// @param ranks of the world that communicate, this one included
c10::intrusive_ptr<c10d::Backend> make_backend(const std::vector<int>& ranks);

/// A collective that would have been sent.
struct Collective {
  enum Kind { all_reduce, broadcast, all_gather, reduce_scatter, barrier };
  Kind kind = barrier;
  int ranks = 1;           ///< that take part
  std::int64_t bytes = 0;  ///< of the whole: the gathered, the one before it is scattered
  friend auto operator<=>(const Collective&, const Collective&) = default;
};

/// How often each collective was asked for so far.
using Traffic = std::map<Collective, std::int64_t>;
Traffic traffic();

}  // namespace fabric::fake
