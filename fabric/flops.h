// Counting the floating-point operations of any code, as the dispatcher sees its operators.
//
//     auto flops = fabric::count_flops([&] { fabric.backward(loss_of(batch)); });
//     fabric.print(flops.total, "\n", flops.table());
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace c10 {
class DebugInfoBase;
}

namespace fabric {

/// What one operator did.
struct OperatorFlops {
  std::string name;  ///< "aten::addmm"
  std::int64_t calls = 0;
  std::int64_t flops = 0;
};

struct Flops {
  std::int64_t total = 0;
  std::vector<OperatorFlops> operators{};  ///< largest first

  /// One line an operator: calls, operations, part of the total.
  std::string table() const;
};

/// A number of operations as options take it: any number, or what was counted.
class FlopNumber {
 public:
  template <class Number>
    requires std::is_arithmetic_v<Number>
  constexpr FlopNumber(Number number) : number_(static_cast<double>(number)) {}
  FlopNumber(const Flops& flops) : number_(static_cast<double>(flops.total)) {}
  constexpr operator double() const { return number_; }

 private:
  double number_;
};

/// Counts while it lives what this thread runs and the backwards it starts, on whatever threads.
///
/// Counted are matrix products, convolutions, attention and recurrent kernels, forward and
/// backward, a product with its sum as two operations, with the formulas of PyTorch's
/// torch.utils.flop_counter (so attention is never taken as causal, and the gradient of a grouped
/// convolution's weight counts as that of a whole one). Everything else, elementwise work above
/// all, is 0. Beyond PyTorch's counter these are counted: products with vectors, CPU's fused
/// attention, and the recurrent kernels of oneDNN and cuDNN.
///
/// It counts what runs: a function that fabric::checkpoint runs again counts twice (divide by the
/// time for hardware use; count once without checkpointing for model use). Each rank counts its own
/// part of the batch; sharded parameters count whole, since each rank multiplies with them whole.
/// Counters may be nested; operators cost more while one lives.
class FlopCounter {
 public:
  FlopCounter();
  ~FlopCounter();
  FlopCounter(const FlopCounter&) = delete;
  FlopCounter& operator=(const FlopCounter&) = delete;

  /// So far.
  Flops flops() const;

 private:
  class Counts;
  friend class FlopObserver;

  std::shared_ptr<Counts> counts_;
  std::uint64_t callback_ = 0;
};

/// Runs `work` and returns what it took on this rank.
template <class Work>
Flops count_flops(Work&& work) {
  const FlopCounter counter;
  std::forward<Work>(work)();
  return counter.flops();
}

}  // namespace fabric
