#include <fabric/distributed_sampler.h>

#include <algorithm>

#include <ATen/CPUGeneratorImpl.h>
#include <accelerators/error.h>
#include <torch/serialize/archive.h>
#include <torch/types.h>

namespace fabric {
namespace {

struct Place {
  std::size_t epoch = 0;
  std::size_t offset = 0;
};

torch::Tensor as_tensor(std::size_t value) {
  return torch::tensor(static_cast<std::int64_t>(value), torch::kInt64);
}

std::size_t read_number(torch::serialize::InputArchive& archive, const char* key) {
  torch::Tensor value;
  archive.read(key, value);
  return static_cast<std::size_t>(value.item<std::int64_t>());
}

}  // namespace

struct DistributedSampler::State {
  std::size_t size;
  std::size_t world_size;
  std::size_t rank;
  DistributedSamplerOptions options;

  Place place;                        // of the iteration under way
  bool started = false;               // whether any iteration has begun
  std::optional<Place> pending;       // where the next iteration begins, when somebody said so
  std::vector<std::size_t> shuffled;  // this rank's indices of the epoch; unused without shuffle

  std::size_t longest() const {
    return options.tail == Tail::drop ? size / world_size : (size + world_size - 1) / world_size;
  }
  std::size_t num_samples() const {
    if (options.tail == Tail::exact) {
      return rank < size ? (size - rank + world_size - 1) / world_size : 0;
    }
    return longest();
  }
  // Position of this rank's i-th example in the epoch's order. Past the end the order begins anew.
  std::size_t position(std::size_t i) const { return (rank + i * world_size) % size; }

  void shuffle() {
    auto generator = at::detail::createCPUGenerator(options.seed + place.epoch);
    const auto order = at::randperm(static_cast<std::int64_t>(size), generator, at::kLong);
    const std::int64_t* numbers = order.const_data_ptr<std::int64_t>();
    shuffled.resize(num_samples());
    for (std::size_t i = 0; i < shuffled.size(); ++i) {
      shuffled[i] = static_cast<std::size_t>(numbers[position(i)]);
    }
  }
};

DistributedSampler::DistributedSampler(std::size_t size, std::size_t world_size, std::size_t rank,
                                       DistributedSamplerOptions options) {
  FABRIC_CHECK(Misconfiguration, size > 0,
               "[fabric.distributed_sampler] there is nothing to sample from; got size 0; expected "
               "at least one example.");
  FABRIC_CHECK(Misconfiguration, rank < world_size,
               "[fabric.distributed_sampler] the rank does not fit the world; got rank ", rank,
               " and world size ", world_size, "; expected 0 <= rank < world size.");
  state_ = std::make_shared<State>(State{size, world_size, rank, options, {}, false, {}, {}});
}

void DistributedSampler::reset(std::optional<std::size_t> new_size) {
  State& state = *state_;
  if (new_size) {
    FABRIC_CHECK(Misconfiguration, *new_size > 0,
                 "[fabric.distributed_sampler] there is nothing to sample from; got new size 0.");
    state.size = *new_size;
  }
  if (state.pending) {
    state.place = *state.pending;
  } else if (state.started) {
    state.place = {state.place.epoch + 1, 0};
  }
  state.pending.reset();
  state.started = true;
  if (state.options.shuffle) {
    state.shuffle();
  }
}

std::optional<std::vector<std::size_t>> DistributedSampler::next(std::size_t batch_size) {
  FABRIC_CHECK(
      Misconfiguration, batch_size > 0,
      "[fabric.distributed_sampler] a batch needs at least one example; got batch size 0.");
  State& state = *state_;
  if (!state.started) {
    reset();
  }
  if (state.place.offset >= state.longest()) {
    return std::nullopt;
  }
  const std::size_t begin = std::min(state.place.offset, state.num_samples());
  const std::size_t end = std::min(begin + batch_size, state.num_samples());
  state.place.offset += batch_size;
  if (state.options.shuffle) {
    return std::vector<std::size_t>(state.shuffled.begin() + static_cast<std::ptrdiff_t>(begin),
                                    state.shuffled.begin() + static_cast<std::ptrdiff_t>(end));
  }
  std::vector<std::size_t> indices;
  indices.reserve(end - begin);
  for (std::size_t i = begin; i < end; ++i) {
    indices.push_back(state.position(i));
  }
  return indices;
}

void DistributedSampler::set_epoch(std::size_t epoch, std::size_t offset) {
  state_->pending = Place{epoch, offset};
}

std::size_t DistributedSampler::epoch() const {
  return state_->pending ? state_->pending->epoch : state_->place.epoch;
}

std::size_t DistributedSampler::offset() const {
  return state_->pending ? state_->pending->offset : state_->place.offset;
}

std::size_t DistributedSampler::num_samples() const {
  return state_->num_samples();
}

std::size_t DistributedSampler::longest() const {
  return state_->longest();
}

std::size_t DistributedSampler::padding() const {
  return state_->options.tail == Tail::pad ? state_->longest() * state_->world_size - state_->size
                                           : 0;
}

void DistributedSampler::save(torch::serialize::OutputArchive& archive) const {
  archive.write("epoch", as_tensor(epoch()), /*is_buffer=*/true);
  archive.write("offset", as_tensor(offset()), /*is_buffer=*/true);
}

void DistributedSampler::load(torch::serialize::InputArchive& archive) {
  Place place{read_number(archive, "epoch"), read_number(archive, "offset")};
  if (place.offset >= state_->longest()) {
    place = {place.epoch + 1, 0};
  }
  state_->pending = place;
}

}  // namespace fabric
