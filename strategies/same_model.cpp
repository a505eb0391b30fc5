#include <strategies/same_model.h>

#include <ATen/ATen.h>
#include <c10/util/hash.h>

#include <accelerators/error.h>

namespace fabric {
namespace {

// What all ranks must agree on before weights are sent: one number a tensor.
at::Tensor fingerprints(const ModelTensors& tensors) {
  std::vector<std::int64_t> values;
  for (const auto* list : {&tensors.parameters, &tensors.buffers}) {
    for (const NamedTensor& named : *list) {
      std::size_t hash = c10::get_hash(named.name, static_cast<int>(named.tensor.scalar_type()),
                                       named.tensor.requires_grad());
      for (const std::int64_t size : named.tensor.sizes()) {
        hash = c10::hash_combine(hash, static_cast<std::size_t>(size));
      }
      values.push_back(static_cast<std::int64_t>(hash >> 1));
    }
  }
  return at::tensor(values, at::kLong);
}

const NamedTensor& tensor_at(const ModelTensors& tensors, std::size_t index) {
  return index < tensors.parameters.size() ? tensors.parameters[index]
                                           : tensors.buffers[index - tensors.parameters.size()];
}

}  // namespace

void check_same_model(const std::string& label, const ModelTensors& tensors,
                      const Communicator& communicator, c10::Device device) {
  const at::Tensor own = fingerprints(tensors);
  at::Tensor count = at::tensor({own.numel(), -own.numel()}, at::kLong).to(device);
  communicator.all_reduce(count, ReduceOp::max).wait();
  count = count.cpu();
  const std::int64_t most = count[0].item<std::int64_t>();
  const std::int64_t least = -count[1].item<std::int64_t>();
  FABRIC_CHECK(Communication, most == least, "[fabric.setup] ranks hold different models; got ",
               own.numel(), " parameters and buffers in ", label, " here, between ", least, " and ",
               most, " over all ranks. Hint: build the same model on every rank.");
  at::Tensor low = own.clone().to(device);
  at::Tensor high = own.clone().to(device);
  communicator.all_reduce(low, ReduceOp::min).wait();
  communicator.all_reduce(high, ReduceOp::max).wait();
  const at::Tensor differs = low.ne(high).nonzero().cpu();
  if (differs.numel() > 0) {
    const NamedTensor& named = tensor_at(tensors, differs[0][0].item<std::int64_t>());
    FABRIC_CHECK(Communication, false, "[fabric.setup] ranks hold different models; '", named.name,
                 "' of ", label, " is ", named.tensor.scalar_type(), " ", named.tensor.sizes(),
                 named.tensor.requires_grad() ? "" : " without gradient", " here and something ",
                 "else on another rank. Hint: build the same model on every rank.");
  }
}

}  // namespace fabric
