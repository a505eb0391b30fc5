#include <fabric/seed.h>

#include <charconv>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <string_view>

#include <ATen/Context.h>
#include <accelerators/collectives/world.h>
#include <accelerators/error.h>
#include <c10/core/GeneratorImpl.h>

namespace fabric {
namespace {

constexpr std::int64_t kLargestSeed = std::numeric_limits<std::uint32_t>::max();
constexpr const char* kSeedVariable = "FABRIC_GLOBAL_SEED";

struct Seeds {
  std::mutex mutex;
  std::optional<std::uint64_t> global;
  std::optional<std::uint64_t> process;
  std::uint64_t version = 0;
  bool workers = true;
};

Seeds& seeds() {
  static Seeds value;
  return value;
}

std::int64_t seed_from_environment() {
  const char* variable = std::getenv(kSeedVariable);
  if (variable == nullptr) {
    return 0;
  }
  const std::string_view text(variable);
  std::int64_t seed = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seed);
  FABRIC_CHECK(Misconfiguration, error == std::errc() && end == text.data() + text.size(),
               "[fabric.seed_everything] the environment variable ", kSeedVariable,
               " is not a number; got '", text, "'; expected an integer from 0 to ", kLargestSeed,
               ".");
  return seed;
}

}  // namespace

std::uint64_t seed_everything(std::optional<std::int64_t> seed, SeedOptions options) {
  const std::int64_t chosen = seed ? *seed : seed_from_environment();
  FABRIC_CHECK(Misconfiguration, chosen >= 0 && chosen <= kLargestSeed,
               "[fabric.seed_everything] the seed is out of bounds; got ", chosen,
               "; expected an integer from 0 to ", kLargestSeed, ".");
  const auto base = static_cast<std::uint64_t>(chosen);
  const std::uint64_t own =
      options.per_rank ? base + static_cast<std::uint64_t>(world().rank) : base;
  at::manual_seed(own);
  Seeds& all = seeds();
  const std::lock_guard<std::mutex> lock(all.mutex);
  all.global = base;
  all.process = own;
  all.workers = options.workers;
  ++all.version;
  return base;
}

std::optional<std::uint64_t> global_seed() {
  Seeds& all = seeds();
  const std::lock_guard<std::mutex> lock(all.mutex);
  return all.global;
}

namespace detail {

std::pair<std::optional<std::uint64_t>, std::uint64_t> process_seed() {
  Seeds& all = seeds();
  const std::lock_guard<std::mutex> lock(all.mutex);
  return {all.process, all.version};
}

std::uint64_t worker_seed(std::uint64_t loader_seed) {
  Seeds& all = seeds();
  const std::lock_guard<std::mutex> lock(all.mutex);
  return all.workers ? loader_seed : c10::detail::getNonDeterministicRandom();
}

}  // namespace detail
}  // namespace fabric
