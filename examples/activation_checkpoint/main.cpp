// Activation checkpointing: the model says where it may be checkpointed, setup decides how much of
// it is. The same training three times, with the bytes that wait for backward.
//
//     ./activation_checkpoint
//     mpirun -np 2 ./activation_checkpoint
//     FABRIC_STRATEGY="fsdp(units=Block)" mpirun -np 2 ./activation_checkpoint
#include <atomic>

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <torch/torch.h>

#include <fabric/fabric.h>

using torch::Tensor;
namespace nn = torch::nn;

constexpr int64_t kWidth = 128;

struct BlockImpl : nn::Module {
  BlockImpl()
      : norm(register_module("norm", nn::LayerNorm(nn::LayerNormOptions({kWidth})))),
        up(register_module("up", nn::Linear(kWidth, 4 * kWidth))),
        down(register_module("down", nn::Linear(4 * kWidth, kWidth))),
        dropout(register_module("dropout", nn::Dropout(0.1))) {}

  Tensor forward(Tensor x) { return x + dropout(down(torch::gelu(up(norm(x))))); }

  nn::LayerNorm norm;
  nn::Linear up, down;
  nn::Dropout dropout;
};
TORCH_MODULE(Block);

struct NetImpl : nn::Module {
  NetImpl() : blocks(register_module("blocks", nn::ModuleList())) {
    for (int i = 0; i < 8; ++i) {
      blocks->push_back(Block());
    }
  }

  Tensor forward(Tensor x) {
    for (auto& block : *blocks) {
      x = fabric::checkpoint(block->as<Block>(), x);  // was: block->as<Block>()->forward(x)
    }
    return x;
  }

  nn::ModuleList blocks;
};
TORCH_MODULE(Net);

/// Bytes of CPU tensors made while it lives and still there, as a profiler would hear of them.
class LiveBytes {
 public:
  double mib() const { return static_cast<double>(counter_->bytes) / (1 << 20); }

 private:
  struct Counter : c10::MemoryReportingInfoBase {
    void reportMemoryUsage(void*, int64_t size, size_t, size_t, c10::Device) override {
      bytes += size;
    }
    bool memoryProfilingEnabled() const override { return true; }
    std::atomic<int64_t> bytes{0};
  };

  std::shared_ptr<Counter> counter_ = std::make_shared<Counter>();
  c10::DebugInfoGuard guard_{c10::DebugInfoKind::PROFILER_STATE, counter_};
};

/// Trains a net from the same seeds; returns the last loss.
double train(fabric::Fabric& fabric, const char* name, fabric::CheckpointChoice choice) {
  fabric.seed_everything(1);
  auto model = fabric.setup(Net(), {.checkpoint = choice});
  auto optimizer = fabric.setup_optimizers(torch::optim::SGD(model->parameters(), 0.1));
  double kept = 0, loss_value = 0;
  for (int step = 0; step < 10; ++step) {
    const Tensor x = torch::randn({512, kWidth});
    optimizer.zero_grad();
    const LiveBytes bytes;
    const Tensor loss = torch::mse_loss(model->forward(x), x.sin());
    kept = bytes.mib();
    fabric.backward(loss);
    optimizer.step();
    loss_value = fabric.mean(loss.item<double>());
  }
  fabric.printf("%-13s kept for backward %5.1f MiB   loss %.6f\n", name, kept, loss_value);
  return loss_value;
}

int main(int argc, char** argv) {
  fabric::Fabric fabric;
  fabric.launch(argc, argv);
  const double none = train(fabric, "none", "none");
  const double half =
      train(fabric, "every second", {"blocks.1", "blocks.3", "blocks.5", "blocks.7"});
  const double all = train(fabric, "all", "all");
  fabric.print("losses differ by ", std::max(std::abs(none - half), std::abs(none - all)));
}
