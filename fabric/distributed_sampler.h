// Which examples of a dataset this process sees, in which order: the numbers of Python's
// torch.utils.data.DistributedSampler, as a LibTorch sampler whose epoch can be set from outside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <torch/data/samplers/base.h>

namespace fabric {

/// What happens when the examples of a dataset do not divide evenly over the ranks.
enum class Tail {
  pad,    ///< the order is filled up with its own beginning: every example is seen, a few twice
  drop,   ///< the rest of the division is left out: no example is seen twice, a few are not seen
  exact,  ///< every example is seen once; the last batches of some ranks are smaller or empty
};

struct DistributedSamplerOptions {
  bool shuffle = true;     ///< a new order every epoch; false: the order of the dataset
  std::uint64_t seed = 0;  ///< must be equal on all ranks; epoch e shuffles with seed + e
  Tail tail = Tail::pad;
};

/// Deals the indices 0 … size − 1 over `world_size` ranks: rank r takes the positions r, r + world,
/// r + 2 · world … of the epoch's order, which depends on (seed, epoch) only.
///
/// Copies share their state, so the epoch can be set after a loader took its copy. Every `reset()`
/// (LibTorch's loaders call it when an iteration begins) moves to the next epoch; the first is
/// epoch 0. At world size 1 nothing is padded or dropped.
///
/// With `Tail::exact` the ranks that run out first return empty requests at the end, so that all
/// ranks count the same number of batches. `fabric::make_data_loader` turns those into empty
/// batches; LibTorch's own StatelessDataLoader asserts on them.
///
///     fabric::DistributedSampler sampler(60000, world.size, world.rank, {.seed = 7});
///     auto loader = torch::data::make_data_loader(dataset, sampler, /*batch_size=*/64);
///     sampler.set_epoch(3);  // the next iteration of `loader` is epoch 3
class DistributedSampler : public torch::data::samplers::Sampler<> {
 public:
  /// @throws MisconfigurationError for size 0, world_size 0 and rank ≥ world_size
  DistributedSampler(std::size_t size, std::size_t world_size = 1, std::size_t rank = 0,
                     DistributedSamplerOptions options = {});

  /// Begins the next epoch, or the one that was set; `new_size` replaces the number of examples.
  void reset(std::optional<std::size_t> new_size = std::nullopt) override;

  /// Returns the indices of the next batch of this rank (at most `batch_size`), or nothing when the
  /// epoch is over.
  std::optional<std::vector<std::size_t>> next(std::size_t batch_size) override;

  /// Makes the next `reset()` begin `epoch`, at this rank's example number `offset`.
  void set_epoch(std::size_t epoch, std::size_t offset = 0);

  /// The epoch under way, the last one when none is, or the one set for the next iteration.
  std::size_t epoch() const;
  /// How far this rank is in the epoch, in examples of the longest rank.
  std::size_t offset() const;

  /// Examples of one epoch on this rank, padding included.
  std::size_t num_samples() const;
  /// Examples of one epoch on the rank that has most: what all ranks count batches by.
  std::size_t longest() const;
  /// Examples that are seen twice in an epoch, summed over the ranks (0 unless `Tail::pad`).
  std::size_t padding() const;

  /// Writes epoch and offset; after `load` the next iteration continues there, and one that was
  /// saved at its end continues with the next epoch.
  void save(torch::serialize::OutputArchive& archive) const override;
  void load(torch::serialize::InputArchive& archive) override;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace fabric
