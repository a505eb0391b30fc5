// Loaders over any LibTorch dataset that deal its examples over the ranks of the job, in Python's
// order, on the right device, with an epoch that can be set.
//
//     auto loader = fabric::make_data_loader<torch::data::samplers::RandomSampler>(
//         dataset.map(torch::data::transforms::Stack<>()), {.batch_size = 64, .workers = 2},
//         context);
//     for (auto& batch : *loader) { ... batch.data ... }
//
// Programs call `fabric.make_data_loader<S>(dataset, options)`, which fills in the context.
#pragma once

#include <concepts>
#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include <accelerators/error.h>
#include <fabric/checkpoint/state_value.h>
#include <fabric/data_loader_core.h>
#include <fabric/data_loader_options.h>
#include <torch/data/samplers/distributed.h>
#include <torch/data/samplers/random.h>
#include <torch/data/samplers/sequential.h>

namespace fabric {

/// A loader: small, copyable (copies are the same loader), default-constructible (an empty one
/// throws), and nameable as a class member. `*loader` and `loader->` give the loader itself, so
/// that code written for the pointer of `torch::data::make_data_loader` keeps compiling.
///
/// Each `begin()` starts an iteration and moves to the next epoch (the first is 0). Leaving a loop
/// early is fine; starting an iteration while another one runs throws.
template <class Batch>
class DataLoader {
 public:
  using BatchType = Batch;

  /// A single-pass iterator; `*it` is a Batch& that the loop may change or move from.
  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = Batch;
    using difference_type = std::ptrdiff_t;
    using pointer = Batch*;
    using reference = Batch&;

    Iterator() = default;
    Batch& operator*() const { return *iteration_->batch; }
    Batch* operator->() const { return &*iteration_->batch; }
    Iterator& operator++() {
      iteration_->advance();
      return *this;
    }
    void operator++(int) { iteration_->advance(); }
    friend bool operator==(const Iterator& a, const Iterator& b) { return a.over() == b.over(); }

   private:
    friend class DataLoader;
    explicit Iterator(std::shared_ptr<detail::LoaderCore<Batch>> core)
        : iteration_(std::make_shared<detail::LoaderIteration<Batch>>(std::move(core))) {}
    bool over() const { return iteration_ == nullptr || !iteration_->batch.has_value(); }

    std::shared_ptr<detail::LoaderIteration<Batch>> iteration_;
  };

  DataLoader() = default;
  explicit DataLoader(std::shared_ptr<detail::LoaderCore<Batch>> core) : core_(std::move(core)) {}

  DataLoader& operator*() & { return *this; }
  const DataLoader& operator*() const& { return *this; }
  DataLoader operator*() && { return std::move(*this); }
  DataLoader* operator->() { return this; }
  const DataLoader* operator->() const { return this; }
  explicit operator bool() const { return core_ != nullptr; }

  /// Starts the next epoch. @throws MisconfigurationError while an iteration is under way
  Iterator begin() const { return Iterator(checked()); }
  Iterator end() const { return Iterator(); }

  /// Batches of one epoch on this process; the same number on every rank.
  std::size_t size() const { return checked()->size(); }
  /// Batches the next iteration yields: `size()`, or less after `load_state` in mid-epoch.
  std::size_t remaining() const { return checked()->remaining(); }
  /// Examples of the whole dataset, over all ranks.
  std::size_t dataset_size() const { return checked()->plan().dataset_size; }
  /// Examples of a full batch on this process, and over all ranks.
  std::size_t batch_size() const { return checked()->plan().options.batch_size; }
  std::size_t global_batch_size() const { return checked()->plan().global_batch_size(); }
  /// Examples that an epoch sees twice over all ranks, because of `Tail::pad`.
  std::size_t padding() const { return checked()->padding(); }

  /// The epoch under way, the last one when none is, or the one set for the next iteration.
  std::size_t epoch() const { return checked()->epoch(); }
  /// Makes the next iteration epoch `epoch`, from its beginning. Needed only where epochs are not
  /// counted up from 0.
  void set_epoch(std::size_t epoch) { checked()->set_epoch(epoch); }

  /// Where the loader is, in batches handed out: save it beside the model to resume in mid-epoch.
  LoaderState state() const { return checked()->state(); }
  /// Makes the next iteration continue there, in the same order; needs the same batch size and
  /// world size. @throws MisconfigurationError for a place outside the epoch
  void load_state(const LoaderState& state) { checked()->load_state(state); }
  /// The same as a part of a fabric::State, counted in examples of all ranks.
  StateDict state_dict() const { return checked()->state_dict(); }
  /// @throws CheckpointError for a place between two batches of this loader
  void load_state_dict(const StateDict& from) { checked()->load_state_dict(from); }

 private:
  const std::shared_ptr<detail::LoaderCore<Batch>>& checked() const {
    FABRIC_CHECK(Misconfiguration, core_ != nullptr,
                 "[fabric.data_loader] this loader is empty. Hint: assign it the result of "
                 "make_data_loader first.");
    return core_;
  }

  std::shared_ptr<detail::LoaderCore<Batch>> core_;
};

namespace detail {

template <class Sampler>
inline constexpr bool shuffles =
    std::is_same_v<Sampler, torch::data::samplers::RandomSampler> ||
    std::is_same_v<Sampler, torch::data::samplers::DistributedRandomSampler>;
template <class Sampler>
inline constexpr bool keeps_order =
    std::is_same_v<Sampler, torch::data::samplers::SequentialSampler> ||
    std::is_same_v<Sampler, torch::data::samplers::DistributedSequentialSampler>;

/// The Batch of a dataset, or a name without meaning where there is none: the return type must
/// compile for the static_asserts below to speak.
struct NoBatch {};
template <class Dataset>
struct BatchOf {
  using type = NoBatch;
};
template <class Dataset>
  requires requires { typename Dataset::BatchType; }
struct BatchOf<Dataset> {
  using type = typename Dataset::BatchType;
};

template <class Dataset>
concept FinishedLoader = requires(Dataset& loader) {
  loader->begin();
  loader->options();
  loader->join();
};

template <class Dataset>
concept Stateful = requires { requires Dataset::is_stateful; };

template <class Dataset>
concept DatasetPointer = requires(Dataset& pointer) {
  pointer->get_batch({});
  pointer->size();
};

template <class Dataset>
concept MapStyleDataset = requires(Dataset& dataset, const std::vector<std::size_t>& indices) {
  typename Dataset::BatchType;
  { dataset.get_batch(indices) } -> std::convertible_to<typename Dataset::BatchType>;
  { dataset.size() } -> std::convertible_to<std::optional<std::size_t>>;
};

/// Whether a loader can be made; says at compile time what is wrong, and the cure.
template <class Sampler, class Dataset>
constexpr bool check_loader_types() {
  constexpr bool known_order = shuffles<Sampler> || keeps_order<Sampler>;
  static_assert(known_order,
                "make_data_loader<Sampler>: Fabric deals the examples over the ranks itself and "
                "knows two orders; name torch::data::samplers::RandomSampler (shuffled) or "
                "SequentialSampler (in order). For another order wrap the dataset in one that maps "
                "its indices.");
  if constexpr (FinishedLoader<Dataset>) {
    static_assert(!FinishedLoader<Dataset>,
                  "make_data_loader: this is a finished loader, whose sampler cannot be replaced; "
                  "pass the dataset it was made from.");
  } else if constexpr (Stateful<Dataset>) {
    static_assert(
        !Stateful<Dataset>,
        "make_data_loader: a stateful dataset (StatefulDataset, ChunkDataset) chooses its "
        "own examples, so they cannot be dealt over ranks; derive from "
        "torch::data::datasets::Dataset with get(index) and size(), or let each rank open "
        "its own files and use torch::data::make_data_loader.");
  } else if constexpr (DatasetPointer<Dataset> && !MapStyleDataset<Dataset>) {
    static_assert(
        MapStyleDataset<Dataset>,
        "make_data_loader: this is a pointer to a dataset; pass the dataset, or share one "
        "between workers with torch::data::datasets::make_shared_dataset<D>(...).");
  } else {
    static_assert(MapStyleDataset<Dataset>,
                  "make_data_loader: this is no dataset with examples by index; derive from "
                  "torch::data::datasets::Dataset<Self, Example> and define get(index) and size() "
                  "(a stream, whose requests are counts instead of indices, cannot be dealt over "
                  "ranks). Tensors become one by torch::data::datasets::TensorDataset.");
  }
  static_assert(
      !MapStyleDataset<Dataset> || std::is_copy_constructible_v<Dataset>,
      "make_data_loader: every worker gets a copy of the dataset, and this one cannot be "
      "copied; wrap it by torch::data::datasets::make_shared_dataset<D>(...), and make its "
      "get_batch safe to call from several threads.");
  return known_order && MapStyleDataset<Dataset> && std::is_copy_constructible_v<Dataset>;
}

}  // namespace detail

/// Makes a loader over `dataset` for one rank of the job.
///
/// Every rank makes it with the same dataset size, options and seed; nothing is communicated. The
/// batches are `Dataset::BatchType` (`std::vector<Example>` unless the dataset is mapped by
/// `torch::data::transforms::Stack<>` or a collation of its own) and arrive on `context.device`.
/// With workers the dataset is copied into each; what its `get_batch` throws comes out of the loop
/// unchanged. At world size 1 the order is that of (seed, epoch) as well.
///
/// @throws MisconfigurationError for batch size 0, an empty dataset, one without a known size, and
///         options that leave no batch
template <class Sampler = torch::data::samplers::RandomSampler, class Dataset>
DataLoader<typename detail::BatchOf<Dataset>::type> make_data_loader(
    Dataset dataset, const DataLoaderOptions& options, const LoaderContext& context) {
  if constexpr (detail::check_loader_types<Sampler, Dataset>()) {
    using Batch = typename Dataset::BatchType;
    const detail::LoaderPlan plan(options, context, detail::shuffles<Sampler>, dataset.size());
    return DataLoader<Batch>(
        std::make_shared<detail::TorchLoaderCore<Dataset>>(std::move(dataset), plan));
  } else {
    return {};  // the build has failed with a text; this keeps further errors away from it
  }
}

/// The same with LibTorch's own options or a plain batch size, as torch::data::make_data_loader.
template <class Sampler = torch::data::samplers::RandomSampler, class Dataset,
          TorchLoaderOptions Options>
DataLoader<typename detail::BatchOf<Dataset>::type> make_data_loader(Dataset dataset,
                                                                     const Options& options,
                                                                     const LoaderContext& context) {
  return fabric::make_data_loader<Sampler>(std::move(dataset), to_loader_options(options), context);
}

}  // namespace fabric
