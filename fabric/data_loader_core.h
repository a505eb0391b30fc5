// What stands behind a fabric::DataLoader: LibTorch's StatelessDataLoader over a dataset that knows
// which batch it is asked for, with the dataset's type erased. Users include fabric/data_loader.h.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include <fabric/data_loader_options.h>
#include <fabric/detail/batches_ahead.h>
#include <fabric/distributed_sampler.h>
#include <fabric/structure.h>
#include <fabric/to_device.h>
#include <fabric/worker_seed.h>
#include <torch/data/dataloader/stateless.h>

namespace fabric {
class StateDict;
}

namespace fabric::detail {

/// Checked options, with nothing left open.
struct LoaderPlan {
  LoaderPlan(const DataLoaderOptions& options, const LoaderContext& context, bool shuffle,
             std::optional<std::size_t> dataset_size);

  std::size_t global_batch_size() const { return options.batch_size * context.world_size; }
  std::size_t num_batches(std::size_t samples) const;
  /// Batches to be loaded ahead of the loop; 0 on devices without copies of their own.
  std::size_t prefetch() const;
  torch::data::DataLoaderOptions torch_options() const;

  DataLoaderOptions options;
  LoaderContext context;
  bool shuffle;
  std::size_t dataset_size = 0;
  std::uint64_t seed = 0;         ///< of the order
  std::uint64_t worker_seed = 0;  ///< of worker_generator()
};

/// One batch to be loaded. LibTorch's loader refuses requests of size 0, which the last ones of a
/// rank can be under Tail::exact, so it is told 1 for those.
struct LoaderRequest {
  std::vector<std::size_t> indices;
  std::size_t epoch = 0;
  std::size_t position = 0;  ///< number of the batch in its epoch

  std::size_t size() const { return std::max<std::size_t>(indices.size(), 1); }
};

/// What LibTorch's loader takes for a sampler: the shared sampler's indices with their place.
class RequestSampler {
 public:
  using BatchRequestType = LoaderRequest;

  RequestSampler(DistributedSampler sampler, const LoaderPlan& plan);

  void reset();
  std::optional<LoaderRequest> next(std::size_t batch_size);

 private:
  DistributedSampler sampler_;
  std::size_t batch_size_;
  std::size_t num_batches_;
  // Of the iteration under way: the sampler's own change when somebody sets the next epoch.
  std::size_t epoch_ = 0;
  std::size_t position_ = 0;
};

/// Pins every tensor in `value`: copies from such memory to a CUDA device need not be waited for.
template <class T>
T pin_memory(T value) {
  return map_tensors(std::move(value), [](const at::Tensor& tensor) {
    return tensor.is_cpu() ? tensor.pin_memory() : tensor;
  });
}

/// Whether the batches of Dataset are lists of examples, which are empty by having no elements.
/// The list of tensors that a collation makes has one element per column instead.
template <class Dataset>
constexpr bool batches_are_lists() {
  using Batch = typename Dataset::BatchType;
  if constexpr (is_instance_of<Batch, std::vector>) {
    if constexpr (std::is_base_of_v<at::Tensor, typename Batch::value_type>) {
      return requires { typename Dataset::ExampleType; };
    }
    return true;
  }
  return false;
}

/// Makes a batch of one example one of none: (1, ...) tensors become (0, ...).
template <class Dataset>
typename Dataset::BatchType emptied(typename Dataset::BatchType batch) {
  if constexpr (batches_are_lists<Dataset>()) {
    batch.clear();
    return batch;
  } else {
    return map_tensors(std::move(batch), [](const at::Tensor& tensor) {
      return tensor.dim() > 0 ? tensor.narrow(0, 0, 0) : tensor;
    });
  }
}

/// The user's dataset as workers see it.
template <class Dataset>
class RequestDataset {
 public:
  using BatchType = typename Dataset::BatchType;

  RequestDataset(Dataset dataset, const LoaderPlan& plan)
      : dataset_(std::move(dataset)),
        seed_(plan.worker_seed),
        rank_(plan.context.rank),
        pin_(plan.context.pin && plan.context.device.is_cuda()) {}

  BatchType get_batch(LoaderRequest request) {
    const bool empty = request.indices.empty();
    if (empty) {
      request.indices.push_back(0);  // for the shapes and types of the other batches
    }
    WorkerSeedScope scope(seed_, request.epoch, rank_, request.position);
    BatchType batch = dataset_.get_batch(request.indices);
    if (empty) {
      batch = emptied<Dataset>(std::move(batch));
    }
    return pin_ ? pin_memory(std::move(batch)) : batch;
  }

 private:
  Dataset dataset_;
  std::uint64_t seed_;
  std::size_t rank_;
  bool pin_;
};

/// The part of a loader that does not depend on types: the plan and the place in the epoch.
class LoaderBookkeeping {
 public:
  explicit LoaderBookkeeping(const LoaderPlan& plan);
  virtual ~LoaderBookkeeping() = default;

  const LoaderPlan& plan() const { return plan_; }
  std::size_t size() const { return size_; }
  std::size_t remaining() const;
  std::size_t padding() const { return sampler_.padding(); }
  std::size_t epoch() const { return sampler_.epoch(); }
  void set_epoch(std::size_t epoch);
  LoaderState state() const;
  void load_state(const LoaderState& state);
  StateDict state_dict() const;
  void load_state_dict(const StateDict& from);

  /// Allows one iteration at a time. @throws MisconfigurationError when one is under way
  void acquire();
  void release();

 protected:
  RequestSampler request_sampler() const { return {sampler_, plan_}; }
  void note_begin();
  void note_batch() { ++position_; }

 private:
  LoaderPlan plan_;
  DistributedSampler sampler_;
  std::size_t size_;
  std::size_t position_ = 0;               // batches of the iteration's epoch handed out
  std::optional<std::size_t> next_start_;  // where the next iteration begins, when somebody said so
  bool busy_ = false;
};

/// What a DataLoader<Batch> calls.
template <class Batch>
class LoaderCore : public LoaderBookkeeping {
 public:
  using LoaderBookkeeping::LoaderBookkeeping;

  /// Begins the next epoch.
  virtual void start() = 0;
  /// The next batch on the loader's device; nothing at the end.
  virtual std::optional<Batch> next() = 0;
  /// The iteration is over: lets go of batches that were not handed out.
  virtual void stop() noexcept = 0;
};

template <class Dataset>
class TorchLoaderCore : public LoaderCore<typename Dataset::BatchType> {
 public:
  using Batch = typename Dataset::BatchType;

  TorchLoaderCore(Dataset dataset, const LoaderPlan& plan)
      : LoaderCore<Batch>(plan),
        loader_(RequestDataset<Dataset>(std::move(dataset), plan), this->request_sampler(),
                plan.torch_options()),
        ahead_(plan.prefetch(), plan.context.device) {}

  void start() override {
    ahead_.clear();
    this->note_begin();
    loader_.restart();
  }

  std::optional<Batch> next() override {
    auto batch = ahead_.next([this] { return loader_.next_batch(); });
    if (batch) {
      this->note_batch();
    }
    return batch;
  }

  void stop() noexcept override { ahead_.clear(); }

 private:
  using Base = torch::data::StatelessDataLoader<RequestDataset<Dataset>, RequestSampler>;

  struct Loader : Base {
    using Base::Base;

    // A loop that was left early leaves batches in flight, on which begin() would throw.
    void restart() {
      this->shuttle_.drain();
      this->begin();
    }

    // What get_batch throws has one type, with workers and without.
    std::optional<Batch> next_batch() {
      try {
        return this->next();
      } catch (const torch::data::WorkerException& exception) {
        std::rethrow_exception(exception.original_exception);
      }
    }
  };

  Loader loader_;
  BatchesAhead<Batch> ahead_;
};

/// One loop over a loader: keeps it alive and marks it as in use.
template <class Batch>
struct LoaderIteration {
  explicit LoaderIteration(std::shared_ptr<LoaderCore<Batch>> loader) : core(std::move(loader)) {
    core->acquire();
    try {
      core->start();
      advance();
    } catch (...) {
      core->release();
      throw;
    }
  }
  ~LoaderIteration() { finish(); }
  LoaderIteration(const LoaderIteration&) = delete;
  LoaderIteration& operator=(const LoaderIteration&) = delete;

  void advance() {
    batch.reset();  // before the next one is loaded: two would be alive otherwise
    batch = core->next();
    if (!batch) {
      finish();
    }
  }

  void finish() {
    if (running) {
      running = false;
      core->stop();
      core->release();
    }
  }

  std::shared_ptr<LoaderCore<Batch>> core;
  std::optional<Batch> batch;
  bool running = true;
};

}  // namespace fabric::detail
