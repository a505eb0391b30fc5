#include <fabric/data_loader_core.h>

#include <accelerators/error.h>
#include <fabric/checkpoint/state_value.h>
#include <fabric/detail/padded_iterations.h>
#include <fabric/seed.h>

namespace fabric {

DataLoaderOptions to_loader_options(const torch::data::DataLoaderOptions& options) {
  return {.batch_size = options.batch_size(),
          .workers = options.workers(),
          .drop_last = options.drop_last(),
          .timeout = options.timeout(),
          .max_jobs = options.max_jobs(),
          .enforce_ordering = options.enforce_ordering()};
}

namespace detail {

LoaderPlan::LoaderPlan(const DataLoaderOptions& given, const LoaderContext& place, bool shuffled,
                       std::optional<std::size_t> size)
    : options(given), context(place), shuffle(shuffled) {
  FABRIC_CHECK(Misconfiguration, options.batch_size > 0,
               "[fabric.data_loader] a batch needs at least one example; got batch size 0. Hint: "
               "batch_size counts the examples of one process.");
  FABRIC_CHECK(Misconfiguration, size.has_value(),
               "[fabric.data_loader] the dataset does not know its size, so its examples cannot be "
               "dealt over ranks; got size() == nullopt. Hint: return the number of examples from "
               "size().");
  FABRIC_CHECK(
      Misconfiguration, *size > 0,
      "[fabric.data_loader] the dataset is empty; got size() == 0. Hint: check the path it "
      "was read from.");
  FABRIC_CHECK(Misconfiguration, !(options.tail == Tail::exact && options.drop_last),
               "[fabric.data_loader] Tail::exact sees every example once and drop_last leaves some "
               "out; choose one of them.");
  FABRIC_CHECK(Misconfiguration, options.max_jobs.value_or(1) > 0,
               "[fabric.data_loader] workers need at least one batch in flight; got max_jobs 0; "
               "expected 1 or more. Hint: leave it out for 2 * workers.");
  dataset_size = *size;
  seed = options.seed.value_or(context.seed);
  worker_seed = detail::worker_seed(seed);
}

std::size_t LoaderPlan::num_batches(std::size_t samples) const {
  return options.drop_last ? samples / options.batch_size
                           : (samples + options.batch_size - 1) / options.batch_size;
}

std::size_t LoaderPlan::prefetch() const {
  return copies_in_stream_order(context.device) || context.prefetch_anywhere ? options.prefetch : 0;
}

torch::data::DataLoaderOptions LoaderPlan::torch_options() const {
  torch::data::DataLoaderOptions result(options.batch_size);
  result.workers(options.workers).enforce_ordering(options.enforce_ordering);
  result.timeout(options.timeout);
  if (options.workers > 0) {
    // Without workers LibTorch would put requests into a queue that nobody reads.
    result.max_jobs(options.max_jobs);
  }
  return result;
}

RequestSampler::RequestSampler(DistributedSampler sampler, const LoaderPlan& plan)
    : sampler_(std::move(sampler)),
      batch_size_(plan.options.batch_size),
      num_batches_(plan.num_batches(sampler_.longest())) {}

void RequestSampler::reset() {
  sampler_.reset();
  epoch_ = sampler_.epoch();
  position_ = sampler_.offset() / batch_size_;
}

std::optional<LoaderRequest> RequestSampler::next(std::size_t batch_size) {
  if (position_ >= num_batches_) {
    return std::nullopt;
  }
  auto indices = sampler_.next(batch_size);
  if (!indices) {
    return std::nullopt;
  }
  return LoaderRequest{std::move(*indices), epoch_, position_++};
}

LoaderBookkeeping::LoaderBookkeeping(const LoaderPlan& plan)
    : plan_(plan),
      sampler_(plan.dataset_size, plan.context.world_size, plan.context.rank,
               {.shuffle = plan.shuffle, .seed = plan.seed, .tail = plan.options.tail}),
      size_(plan.num_batches(sampler_.longest())) {
  FABRIC_CHECK(Misconfiguration, size_ > 0,
               "[fabric.data_loader] the loader would yield no batch; got ", plan.dataset_size,
               " examples for ", plan.context.world_size, " ranks with batch size ",
               plan.options.batch_size,
               ", and what does not divide evenly is dropped. Hint: use "
               "Tail::pad without drop_last, or a smaller batch.");
}

std::size_t LoaderBookkeeping::remaining() const {
  return size_ - next_start_.value_or(0);
}

void LoaderBookkeeping::set_epoch(std::size_t epoch) {
  sampler_.set_epoch(epoch);
  next_start_ = 0;
}

LoaderState LoaderBookkeeping::state() const {
  const auto epoch = static_cast<std::int64_t>(sampler_.epoch());
  if (next_start_) {
    return {epoch, static_cast<std::int64_t>(*next_start_)};
  }
  return position_ < size_ ? LoaderState{epoch, static_cast<std::int64_t>(position_)}
                           : LoaderState{epoch + 1, 0};
}

void LoaderBookkeeping::load_state(const LoaderState& state) {
  FABRIC_CHECK(
      Misconfiguration,
      state.epoch >= 0 && state.position >= 0 && static_cast<std::size_t>(state.position) < size_,
      "[fabric.data_loader] the saved place does not fit this loader; got epoch ", state.epoch,
      ", position ", state.position, "; expected a position below ", size_,
      ". Hint: batch size and world size must be those of the saved run.");
  next_start_ = static_cast<std::size_t>(state.position);
  sampler_.set_epoch(static_cast<std::size_t>(state.epoch),
                     *next_start_ * plan_.options.batch_size);
}

StateDict LoaderBookkeeping::state_dict() const {
  const LoaderState now = state();
  return {{"epoch", now.epoch},
          {"samples", now.position * static_cast<std::int64_t>(plan_.global_batch_size())},
          {"seed", plan_.seed}};
}

void LoaderBookkeeping::load_state_dict(const StateDict& from) {
  const auto samples = from["samples"].as<std::int64_t>();
  const auto batch = static_cast<std::int64_t>(plan_.global_batch_size());
  const auto seed = from["seed"].as<std::uint64_t>();
  FABRIC_CHECK(Checkpoint, samples % batch == 0,
               "[fabric.data_loader] the saved place lies inside ", "a batch of this loader; got ",
               samples, " examples of all ranks; expected a ", "multiple of ", batch,
               ", the global batch size. Hint: choose a batch size so that ",
               "batch_size × world size divides it.");
  FABRIC_CHECK(Checkpoint, seed == plan_.seed, "[fabric.data_loader] the saved place is one in ",
               "another order of examples; got seed ", plan_.seed, "; expected ", seed,
               ". Hint: fabric.seed_everything(", seed, ") before the loader is made, or ",
               "{.seed = ", seed, "}.");
  load_state({.epoch = from["epoch"].as<std::int64_t>(), .position = samples / batch});
}

void LoaderBookkeeping::acquire() {
  FABRIC_CHECK(Misconfiguration, !busy_,
               "[fabric.data_loader] an iteration began while another one over the same loader "
               "still runs. Hint: make a second loader for the inner loop, or let the first "
               "iterator go out of scope.");
  busy_ = true;
  padded_iterations += padding() > 0 ? 1 : 0;
}

void LoaderBookkeeping::release() {
  busy_ = false;
  padded_iterations -= padding() > 0 ? 1 : 0;
}

void LoaderBookkeeping::note_begin() {
  position_ = next_start_.value_or(0);
  next_start_.reset();
}

}  // namespace detail
}  // namespace fabric
