#include <accelerators/cuda/graph.h>

#include <exception>

#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

namespace fabric::cuda {
namespace {

// Makes one stream wait for what another holds now.
void order(const c10::cuda::CUDAStream& first, const c10::cuda::CUDAStream& second) {
  at::cuda::CUDAEvent event;
  event.record(first);
  event.block(second);
}

class Graph final : public DeviceGraph {
 public:
  explicit Graph(c10::Device device)
      : device_(device),
        stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index())) {}

  void warm_up(const std::function<void()>& work) override {
    const c10::cuda::CUDAStream current = c10::cuda::getCurrentCUDAStream(device_.index());
    order(current, stream_);
    try {
      // Not the default stream: a capture there is impossible, and autograd's nodes remember it.
      const c10::cuda::CUDAStreamGuard here(stream_);
      work();
    } catch (...) {
      order(stream_, current);
      throw;
    }
    order(stream_, current);
  }

  void record(const std::function<void()>& work) override {
    const c10::cuda::CUDAGuard here(device_);
    c10::cuda::device_synchronize();
    // It registers the default generator: each replay draws on from where that is.
    auto graph = std::make_unique<at::cuda::CUDAGraph>();
    {
      const c10::cuda::CUDAStreamGuard recorded(stream_);
      // What other threads do (workers that pin batches) is no concern of the capture.
      graph->capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
      try {
        work();
      } catch (...) {
        try {
          graph->capture_end();
        } catch (const std::exception&) {
          // The first error tells what happened.
        }
        throw;
      }
      graph->capture_end();
    }
    graph_ = std::move(graph);
  }

  void replay() override { graph_->replay(); }

 private:
  c10::Device device_;
  c10::cuda::CUDAStream stream_;
  std::unique_ptr<at::cuda::CUDAGraph> graph_;
};

}  // namespace

std::unique_ptr<DeviceGraph> make_graph(c10::Device device) {
  return std::make_unique<Graph>(device);
}

}  // namespace fabric::cuda
