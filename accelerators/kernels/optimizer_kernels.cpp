#include <accelerators/kernels/optimizer_kernels.h>

#include <algorithm>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/TensorIterator.h>

#include <accelerators/kernels/cpu/optimizer_loops.h>

namespace fabric::kernels {
namespace {

// Elements that are worth handing to another thread, and the size of what is handed over.
constexpr std::int64_t kGrain = 32768;

bool has_avx2() {
#if defined(__x86_64__) || defined(__i386__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

const OptimizerLoops& loops(Real real) {
  static const bool avx2 = has_avx2() && avx2_loops(Real::f32) != nullptr;
  return *(avx2 ? avx2_loops(real) : baseline_loops(real));
}

// Elements [begin, end) of a span.
OptimizerSpan part_of(const OptimizerSpan& span, std::int64_t begin, std::int64_t end, Real real) {
  const std::int64_t bytes = begin * (real == Real::f32 ? 4 : 8);
  OptimizerSpan part = span;
  part.parameter = static_cast<char*>(span.parameter) + bytes;
  part.gradient = static_cast<const char*>(span.gradient) + bytes;
  for (void*& state : part.state) {
    state = state == nullptr ? nullptr : static_cast<char*>(state) + bytes;
  }
  part.size = end - begin;
  return part;
}

// Runs `work(begin, end)` over parts of [0, size) on LibTorch's threads. `at::parallel_for` is a
// template that stays serial in sources compiled without OpenMP; an iterator's loop is not.
template <class Work>
void on_threads(std::int64_t size, Work&& work) {
  at::Tensor numbers = at::empty({size}, at::kByte);
  auto iterator = at::TensorIteratorConfig()
                      .set_check_mem_overlap(false)
                      .add_output(numbers)
                      .add_const_input(numbers)
                      .build();
  const char* first = static_cast<const char*>(numbers.const_data_ptr());
  iterator.for_each([&](char** data, const std::int64_t*,
                        std::int64_t count) { work(data[0] - first, data[0] - first + count); },
                    /*grain_size=*/1);
}

template <class Numbers>
void update(void (*loop)(OptimizerSpans, const Numbers&), Real real,
            std::span<const OptimizerSpan> spans, const Numbers& numbers) {
  std::int64_t total = 0;
  const bool threads = at::get_num_threads() > 1 && !at::in_parallel_region();
  if (threads) {
    for (const OptimizerSpan& span : spans) {
      total += span.size;
    }
  }
  if (total <= kGrain) {
    loop({spans.data(), spans.data() + spans.size()}, numbers);
    return;
  }
  std::vector<std::int64_t> ends;  // of the spans, one behind the other
  ends.reserve(spans.size());
  for (const OptimizerSpan& span : spans) {
    ends.push_back((ends.empty() ? 0 : ends.back()) + span.size);
  }
  on_threads((total + kGrain - 1) / kGrain, [&](std::int64_t first_grain, std::int64_t last_grain) {
    std::int64_t begin = first_grain * kGrain;
    const std::int64_t end = std::min(last_grain * kGrain, total);
    auto at =
        static_cast<std::size_t>(std::upper_bound(ends.begin(), ends.end(), begin) - ends.begin());
    for (; begin < end; ++at) {
      const std::int64_t start = ends[at] - spans[at].size;
      const std::int64_t stop = std::min(ends[at], end);
      const OptimizerSpan part = part_of(spans[at], begin - start, stop - start, real);
      loop({&part, &part + 1}, numbers);
      begin = stop;
    }
  });
}

}  // namespace

void adam(Real real, std::span<const OptimizerSpan> spans, const AdamNumbers& numbers) {
  update(loops(real).adam, real, spans, numbers);
}

void sgd(Real real, std::span<const OptimizerSpan> spans, const SGDNumbers& numbers) {
  update(loops(real).sgd, real, spans, numbers);
}

void adagrad(Real real, std::span<const OptimizerSpan> spans, const AdagradNumbers& numbers) {
  update(loops(real).adagrad, real, spans, numbers);
}

void lion(Real real, std::span<const OptimizerSpan> spans, const LionNumbers& numbers) {
  update(loops(real).lion, real, spans, numbers);
}

}  // namespace fabric::kernels
