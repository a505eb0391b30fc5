// What a loader is made from: the user's options and the place of this process in the job.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>

#include <accelerators/error.h>
#include <c10/core/Device.h>
#include <fabric/distributed_sampler.h>
#include <torch/data/dataloader_options.h>

namespace fabric {

/// The options of a loader. All ranks must pass the same.
struct DataLoaderOptions {
  std::size_t batch_size = 1;  ///< examples of a batch on one process, not over all ranks
  std::size_t workers = 0;     ///< threads that load ahead; 0 loads in the calling thread
  Tail tail = Tail::pad;       ///< what happens to examples that do not divide over the ranks
  bool drop_last = false;      ///< leaves out a last batch smaller than batch_size
  std::optional<std::chrono::milliseconds> timeout =
      std::nullopt;                                    ///< limit of waiting for workers
  std::optional<std::size_t> max_jobs = std::nullopt;  ///< batches in flight; default 2 * workers
  bool enforce_ordering = true;  ///< false: batches of workers come as they are done
  std::optional<std::uint64_t> seed = std::nullopt;  ///< of the order; default the job's seed
  /// Batches that are copied to the device ahead of the loop, beside the step that runs, on devices
  /// that copy by themselves (CUDA). 0: each batch is copied when the loop asks for it. A dataset
  /// without workers is then asked for examples that many batches earlier.
  std::size_t prefetch = 1;
};

/// What a loader must know about the job. `Fabric` fills it in; tests can be any rank of any world.
struct LoaderContext {
  std::size_t rank = 0;
  std::size_t world_size = 1;
  std::uint64_t seed = 0;                       ///< the same on all ranks
  c10::Device device = c10::Device(c10::kCPU);  ///< where batches are moved to
  bool pin = true;                              ///< on CUDA: copy from page-locked memory
  bool prefetch_anywhere = false;               ///< also where nothing is copied ahead (tests)
};

/// The place of a loader between two batches; a plain struct, so it can be part of a saved state.
struct LoaderState {
  std::int64_t epoch = 0;
  std::int64_t position = 0;  ///< batches of the epoch that were handed out
};

/// What LibTorch's make_data_loader takes for options: its own class, or a batch size.
template <class T>
concept TorchLoaderOptions =
    std::same_as<T, torch::data::DataLoaderOptions> || (std::integral<T> && !std::same_as<T, bool>);

/// The same settings as fabric::DataLoaderOptions.
DataLoaderOptions to_loader_options(const torch::data::DataLoaderOptions& options);

template <class Number>
  requires(std::integral<Number> && !std::same_as<Number, bool>)
DataLoaderOptions to_loader_options(Number batch_size) {
  FABRIC_CHECK(Misconfiguration, batch_size > 0,
               "[fabric.data_loader] a batch needs at least one example; got batch size ",
               batch_size, ".");
  return DataLoaderOptions{.batch_size = static_cast<std::size_t>(batch_size)};
}

}  // namespace fabric
