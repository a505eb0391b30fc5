// Marks and registrations that must not compile, each with the text that says why. With every
// compiler there is.
#include <torch/torch.h>

#include <fabric/fabric.h>

using torch::Tensor;

struct NetImpl : torch::nn::Module {
  Tensor forward(Tensor x) { return x; }
  FABRIC_INFERENCE_ENTRY(evaluate, .grad = "off", .mode = "eval", .precision = "bf16-mixed",
                         .sync = false)
  Tensor evaluate(Tensor x) { return x; }
  Tensor encode(Tensor x) { return x; }
  Tensor encode(Tensor x, int64_t times) { return x * times; }
  Tensor unmarked(Tensor x) { return x; }
};
TORCH_MODULE(Net);

struct HiddenMark : torch::nn::Module {
 private:
  FABRIC_INFERENCE_ENTRY(evaluate)
  Tensor evaluate(Tensor x) { return x; }
};

struct MissingMethod : torch::nn::Module {
  FABRIC_INFERENCE_ENTRY(evalaute)
  Tensor evaluate(Tensor x) { return x; }
};

struct OtherMarks {
  FABRIC_INFERENCE_ENTRY(other)
  Tensor other(Tensor x) { return x; }
};
struct TwoMarkedBases : NetImpl, OtherMarks {};

void good(fabric::Fabric& fabric) {
  auto model = fabric.setup(Net());
  model->evaluate(Tensor());
  model->register_forward_method<Tensor(Tensor)>(&NetImpl::encode);
}

// CASE unmarked_method: no member named 'unmarked'
#ifdef CASE_unmarked_method
void bad(fabric::FabricModule<NetImpl>& model) {
  model->unmarked(Tensor());
}
#endif

// CASE reserved_mark: FabricModule has a member 'train' itself
#ifdef CASE_reserved_mark
struct Reserved : torch::nn::Module {
  FABRIC_INFERENCE_ENTRY(train)
  void train() {}
};
void bad(fabric::Fabric& fabric, Reserved& net) {
  fabric.setup(net);
}
#endif

// CASE hidden_mark: The mark must stand in a public section
#ifdef CASE_hidden_mark
void bad(fabric::Fabric& fabric, HiddenMark& net) {
  fabric.setup(net);
}
#endif

// CASE two_marked_bases: two base classes have marks
#ifdef CASE_two_marked_bases
void bad(fabric::Fabric& fabric) {
  fabric.setup(std::make_shared<TwoMarkedBases>());
}
#endif

// CASE missing_method: the class has no method 'evalaute'
#ifdef CASE_missing_method
void bad(fabric::Fabric& fabric, MissingMethod& net) {
  fabric.setup(net);
}
#endif

// CASE wrong_arguments: no match
#ifdef CASE_wrong_arguments
void bad(fabric::FabricModule<NetImpl>& model) {
  model->evaluate(std::string("text"));
}
#endif

// CASE wrong_grad: entry option grad: expected
#ifdef CASE_wrong_grad
struct Wrong : torch::nn::Module {
  FABRIC_INFERENCE_ENTRY(evaluate, .grad = "none")
  void evaluate() {}
};
void bad(fabric::Fabric& fabric, Wrong& net) {
  fabric.setup(net);
}
#endif

// CASE unknown_option: volume
#ifdef CASE_unknown_option
struct Wrong : torch::nn::Module {
  FABRIC_INFERENCE_ENTRY(evaluate, .volume = 11)
  void evaluate() {}
};
void bad(fabric::Fabric& fabric, Wrong& net) {
  fabric.setup(net);
}
#endif

// CASE wrong_precision: precision: expected
#ifdef CASE_wrong_precision
struct Wrong : torch::nn::Module {
  FABRIC_INFERENCE_ENTRY(evaluate, .precision = "bf17")
  void evaluate() {}
};
void bad(fabric::Fabric& fabric, Wrong& net) {
  fabric.setup(net);
}
#endif

// CASE wrong_unrouted: unrouted: expected
#ifdef CASE_wrong_unrouted
void bad() {
  fabric::Fabric fabric({.unrouted = "maybe"});
}
#endif

// CASE register_by_name: cannot find a method by its name at run time
#ifdef CASE_register_by_name
void bad(fabric::FabricModule<NetImpl>& model) {
  model->register_forward_method("encode");
}
#endif

// CASE register_overloaded: no matching
#ifdef CASE_register_overloaded
void bad(fabric::FabricModule<NetImpl>& model) {
  model->register_forward_method(&NetImpl::encode);
}
#endif
