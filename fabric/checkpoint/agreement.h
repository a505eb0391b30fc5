// How the ranks of a job save and load together: all go on, or all throw.
#pragma once

#include <exception>
#include <string>
#include <utility>
#include <vector>

#include <fabric/checkpoint/state_node.h>
#include <fabric/collectives.h>

namespace fabric::detail {

/// What `work` throws, or null.
template <class Work>
std::exception_ptr attempt(Work&& work) {
  try {
    std::forward<Work>(work)();
  } catch (...) {
    return std::current_exception();
  }
  return nullptr;
}

/// Returns on all ranks if none has an error. Otherwise ranks rethrow their own, and those that
/// have none throw CheckpointError with the text of the first rank that has one. Collective.
void agree_on(const StateJob& job, std::exception_ptr own);

/// Everyone's bytes, in rank order, of whatever length. Collective.
std::vector<std::vector<char>> gather_bytes(const StateJob& job, const std::vector<char>& own);

/// Everyone's value, in rank order: anything that fabric.broadcast takes. Collective.
template <class T>
std::vector<T> gather_objects(const StateJob& job, const T& own) {
  std::vector<T> all;
  for (const std::vector<char>& bytes : gather_bytes(job, pack(own))) {
    unpack(bytes, all.emplace_back());
  }
  return all;
}

}  // namespace fabric::detail
