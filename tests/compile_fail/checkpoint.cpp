// Calls of fabric::checkpoint that must not compile, each with the text that says why.
#include <memory>

#include <torch/torch.h>

#include <fabric/fabric.h>

using torch::Tensor;

struct NetImpl : torch::nn::Module {
  Tensor forward(Tensor x) { return x; }
};
TORCH_MODULE(Net);

Tensor good(fabric::Fabric& fabric, Net& net, Tensor x) {
  fabric.setup(net, {.checkpoint = {"Net"}});
  x = fabric::checkpoint({.check = false}, *net, x);
  return fabric::checkpoint([=](Tensor y) mutable { return net(y); }, x);
}

// CASE no_result: the function returns nothing that gradients could flow from
#ifdef CASE_no_result
void bad(Tensor x) {
  fabric::checkpoint([](Tensor) {}, x);
}
#endif

// CASE no_tensor_in_the_result: the function returns nothing that gradients could flow from
#ifdef CASE_no_tensor_in_the_result
int bad(Tensor x) {
  return fabric::checkpoint([](Tensor) { return 3; }, x);
}
#endif

// CASE move_only_argument: arguments are copied for backward
#ifdef CASE_move_only_argument
Tensor bad(Tensor x) {
  return fabric::checkpoint([](Tensor y, std::unique_ptr<int>) { return y; }, x,
                            std::make_unique<int>(3));
}
#endif

// CASE move_only_capture: the function is copied for backward
#ifdef CASE_move_only_capture
Tensor bad(Tensor x) {
  return fabric::checkpoint([own = std::make_unique<int>(3)](Tensor y) { return y; }, x);
}
#endif

// CASE temporary_module: was given a temporary module
#ifdef CASE_temporary_module
Tensor bad(Tensor x) {
  return fabric::checkpoint(NetImpl(), x);
}
#endif

// CASE untyped_module: has no forward: pass
#ifdef CASE_untyped_module
Tensor bad(std::shared_ptr<torch::nn::Module> block, Tensor x) {
  return fabric::checkpoint(block, x);
}
#endif

// CASE wrong_arguments: cannot be called with these arguments
#ifdef CASE_wrong_arguments
Tensor bad(Net& net, Tensor x) {
  return fabric::checkpoint(net, x, x);
}
#endif

// CASE unknown_choice: checkpoint: expected
#ifdef CASE_unknown_choice
void bad(fabric::Fabric& fabric, Net& net) {
  fabric.setup(net, {.checkpoint = "some"});
}
#endif
