// Uses of models, entries and loaders that must not compile, each with the text that says why.
#include <iterator>

#include <torch/torch.h>

#include <fabric/fabric.h>

using torch::Tensor;

struct NetImpl : torch::nn::Module {
  Tensor forward(Tensor x) { return x; }
  FABRIC_INFERENCE_ENTRY(evaluate)
  Tensor evaluate(Tensor x) { return x; }
};
TORCH_MODULE(Net);

void good(fabric::Fabric& fabric) {
  auto model = fabric.setup(Net());
  model->evaluate(Tensor());
}

// CASE unknown_method: has no member named 'missing'
#ifdef CASE_unknown_method
void bad(fabric::Fabric& fabric) {
  auto model = fabric.setup(Net());
  model->missing(Tensor());
}
#endif

// CASE temporary_module: Pass std::make_shared<Net>
#ifdef CASE_temporary_module
void bad(fabric::Fabric& fabric) {
  fabric.setup(NetImpl());
}
#endif

// CASE average_of_plain_module: fabric::EMA averages a model that has been set up
#ifdef CASE_average_of_plain_module
void bad() {
  Net net;
  fabric::EMA ema(net);
}
#endif

// CASE no_module: fabric.setup expects a torch::nn::Module
#ifdef CASE_no_module
void bad(fabric::Fabric& fabric) {
  fabric.setup(3);
}
#endif

// CASE setup_twice: was given a FabricModule: the model has been set up already
#ifdef CASE_setup_twice
void bad(fabric::Fabric& fabric) {
  auto model = fabric.setup(Net());
  fabric.setup(model);
}
#endif

// CASE optimizer_twice: was given a FabricOptimizer
#ifdef CASE_optimizer_twice
void bad(fabric::Fabric& fabric, Net& net) {
  auto optimizer = fabric.setup_optimizers(torch::optim::SGD(net->parameters(), 0.1));
  fabric.setup_optimizers(optimizer);
}
#endif

// CASE scheduler: A learning-rate scheduler is not set up
#ifdef CASE_scheduler
void bad(fabric::Fabric& fabric, Net& net, torch::optim::StepLR& schedule) {
  fabric.setup(net, schedule);
}
#endif

// CASE gathered_number: a number inside a container or struct cannot hold
#ifdef CASE_gathered_number
void bad(fabric::Fabric& fabric) {
  fabric.all_gather(std::vector<double>{1, 2});
}
#endif

// CASE reduction: unknown reduction
#ifdef CASE_reduction
void bad(fabric::Fabric& fabric) {
  fabric.all_reduce(1.0, "avg");
}
#endif

// CASE dropped_guard: gradients stay local only while the guard lives
#ifdef CASE_dropped_guard
void bad(fabric::Fabric& fabric, fabric::FabricModule<NetImpl>& model) {
  fabric.no_backward_sync(model);
}
#endif

// CASE sampler: knows two orders
#ifdef CASE_sampler
template <class Dataset>
void load(fabric::Fabric& fabric, Dataset dataset) {
  fabric.make_data_loader<torch::data::samplers::StreamSampler>(dataset, 4);
}
void bad(fabric::Fabric& fabric) {
  load(fabric, torch::data::datasets::TensorDataset(torch::ones({2})));
}
#endif

// CASE finished_loader: this is a finished loader, whose sampler cannot be replaced
#ifdef CASE_finished_loader
void bad(fabric::Fabric& fabric) {
  fabric.make_data_loader(
      torch::data::make_data_loader(torch::data::datasets::TensorDataset(torch::ones({2})), 4), 4);
}
#endif

// CASE stateful_dataset: chooses its own examples
#ifdef CASE_stateful_dataset
struct Stream : torch::data::datasets::StatefulDataset<Stream, std::vector<int>, size_t> {
  torch::optional<std::vector<int>> get_batch(size_t) override { return {}; }
  void reset() override {}
  torch::optional<size_t> size() const override { return 4; }
  void save(torch::serialize::OutputArchive&) const override {}
  void load(torch::serialize::InputArchive&) override {}
};
void bad(fabric::Fabric& fabric) {
  fabric.make_data_loader(Stream(), 4);
}
#endif

// CASE unsized_range: the range must know its size
#ifdef CASE_unsized_range
struct Unsized {
  std::istream_iterator<int> begin();
  std::istream_iterator<int> end();
};
void bad(fabric::Fabric& fabric, Unsized& range) {
  for (auto [batch, micro] : fabric.accumulate(range, 2)) {
    (void)batch;
  }
}
#endif

// CASE tensor_dataset: this is no dataset with examples by index
#ifdef CASE_tensor_dataset
void bad(fabric::Fabric& fabric) {
  fabric.make_data_loader(torch::ones({2}), 4);
}
#endif

// CASE printf: format
#ifdef CASE_printf
void bad(fabric::Fabric& fabric) {
  fabric.printf("%s\n", 3);
}
#endif
