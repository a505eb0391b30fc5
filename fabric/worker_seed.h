// Random numbers for datasets: reproducible in any number of loader workers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include <ATen/core/Generator.h>

namespace fabric {

/// Returns the CPU generator a dataset should draw its random transforms from.
///
/// LibTorch's loader workers are threads that share one default generator, so numbers drawn from it
/// differ from run to run. Inside `get_batch` of a loader made by `fabric::make_data_loader` this
/// generator is the calling thread's own and begins every batch from (seed, epoch, rank, number of
/// the batch): the same numbers whatever the number of workers, different ones on every rank.
/// Outside a loader it is the thread's own as well, seeded from the seed of `seed_everything`, or
/// where that was not called from torch's default generator.
///
///     torch::data::Example<> get(size_t index) override {
///       auto noise = torch::randn({1, 28, 28}, fabric::worker_generator());
///       return {images_[index] + 0.1 * noise, targets_[index]};
///     }
at::Generator worker_generator();

/// Returns a CPU generator for what happens to one example: it depends on (seed, epoch, index)
/// alone, not on rank, batch, workers or world size. A run that is resumed, with whatever number of
/// ranks, draws for an example what it would have drawn. Every call begins anew. Outside a loader
/// the epoch is 0 and the seed that of `seed_everything`.
///
///     auto noise = torch::randn({1, 28, 28}, fabric::sample_generator(index));
at::Generator sample_generator(std::size_t index);

namespace detail {

/// While it lives, `worker_generator()` of this thread is the batch's one. Scopes nest.
class WorkerSeedScope {
 public:
  WorkerSeedScope(std::uint64_t seed, std::size_t epoch, std::size_t rank, std::size_t batch);
  ~WorkerSeedScope();
  WorkerSeedScope(const WorkerSeedScope&) = delete;
  WorkerSeedScope& operator=(const WorkerSeedScope&) = delete;

  /// Made when first asked for: most datasets draw nothing.
  at::Generator generator();
  /// What generators of single examples are seeded from.
  std::uint64_t epoch_seed() const { return epoch_seed_; }

 private:
  std::uint64_t epoch_seed_;
  std::uint64_t seed_;
  std::optional<at::Generator> generator_;
  WorkerSeedScope* outer_;
};

/// Combines numbers into a seed such that neighbouring inputs give unrelated streams (SplitMix64).
std::uint64_t mix_seed(std::uint64_t seed, std::uint64_t value);

}  // namespace detail
}  // namespace fabric
