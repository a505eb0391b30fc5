// One call that seeds every generator of the process.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>

namespace fabric {

struct SeedOptions {
  bool per_rank = false;  ///< adds the rank, so that ranks draw different numbers
  bool workers = true;    ///< loaders' worker_generator() follows the seed; false: new every run
};

/// Seeds torch's generators on the CPU and on all CUDA devices and remembers the seed for loaders.
///
/// Without `seed` the environment variable FABRIC_GLOBAL_SEED is taken, and 0 where that is not
/// set. Each rank calls it for itself, best with the same seed: the order of a loader must agree
/// between ranks and is therefore never affected by `per_rank`. Call it after `launch()` with
/// `per_rank`, or every process still believes to be rank 0. At world size 1 `per_rank` changes
/// nothing.
///
///     fabric::seed_everything(42);
///     fabric::seed_everything(42, {.per_rank = true});  // other noise and dropout on each rank
///
/// @return the seed, without the rank's offset
/// @throws MisconfigurationError for a seed outside [0, 2^32 − 1] or a malformed variable
std::uint64_t seed_everything(std::optional<std::int64_t> seed = std::nullopt,
                              SeedOptions options = {});

/// The seed of the last `seed_everything`, without the rank's offset; nothing before the first.
std::optional<std::uint64_t> global_seed();

namespace detail {

/// The seed with this rank's offset, and a number that changes with each `seed_everything`.
std::pair<std::optional<std::uint64_t>, std::uint64_t> process_seed();

/// What a loader with seed `loader_seed` seeds its workers from (see SeedOptions::workers).
std::uint64_t worker_seed(std::uint64_t loader_seed);

}  // namespace detail
}  // namespace fabric
