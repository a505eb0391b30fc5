#include <fabric/worker_seed.h>

#include <ATen/CPUGeneratorImpl.h>
#include <fabric/seed.h>

namespace fabric {
namespace {

thread_local detail::WorkerSeedScope* current_scope = nullptr;

// The thread's generator outside loaders, made anew after each change of the seed.
at::Generator outside_generator() {
  thread_local std::uint64_t version = 0;
  thread_local std::optional<at::Generator> generator;
  const auto [seed, current] = detail::process_seed();
  if (!generator || version != current) {
    generator = at::detail::createCPUGenerator(
        seed.value_or(at::detail::getDefaultCPUGenerator().current_seed()));
    version = current;
  }
  return *generator;
}

}  // namespace

at::Generator worker_generator() {
  return current_scope != nullptr ? current_scope->generator() : outside_generator();
}

at::Generator sample_generator(std::size_t index) {
  constexpr std::uint64_t kExamples = 0x5a3b1e5;  // apart from the streams of ranks and batches
  const std::uint64_t epoch_seed =
      current_scope != nullptr ? current_scope->epoch_seed()
                               : detail::mix_seed(detail::process_seed().first.value_or(0), 0);
  return at::detail::createCPUGenerator(
      detail::mix_seed(detail::mix_seed(epoch_seed, kExamples), index));
}

namespace detail {

std::uint64_t mix_seed(std::uint64_t seed, std::uint64_t value) {
  std::uint64_t z = seed + 0x9e3779b97f4a7c15ULL * (value + 1);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

WorkerSeedScope::WorkerSeedScope(std::uint64_t seed, std::size_t epoch, std::size_t rank,
                                 std::size_t batch)
    : epoch_seed_(mix_seed(seed, epoch)),
      seed_(mix_seed(mix_seed(epoch_seed_, rank), batch)),
      outer_(current_scope) {
  current_scope = this;
}

WorkerSeedScope::~WorkerSeedScope() {
  current_scope = outer_;
}

at::Generator WorkerSeedScope::generator() {
  if (!generator_) {
    generator_ = at::detail::createCPUGenerator(seed_);
  }
  return *generator_;
}

}  // namespace detail
}  // namespace fabric
