#include <fabric/optim/fused_state.h>

#include <ATen/ATen.h>
#include <torch/serialize/archive.h>

namespace fabric {

std::int64_t FusedParamState::step() const {
  return device_step.defined() ? static_cast<std::int64_t>(device_step.item<double>()) : host_step;
}

void FusedParamState::set_step(std::int64_t step) {
  host_step = step;
  device_step.reset();
}

std::vector<NamedTensor> FusedParamState::named_tensors() const {
  std::vector<NamedTensor> named;
  if (layout_->counts_steps) {
    named.push_back({"step", device_step.defined()
                                 ? device_step
                                 : at::scalar_tensor(static_cast<double>(host_step), at::kFloat)});
  }
  for (std::size_t i = 0; i < layout_->size; ++i) {
    if (tensors[i].defined()) {
      named.push_back({layout_->names[i], tensors[i]});
    }
  }
  return named;
}

bool FusedParamState::look_at(unsigned wanted, std::int64_t size, caffe2::TypeMeta dtype) {
  Seen seen{.tensors = tensors, .data = {}, .size = size, .dtype = dtype, .wanted = wanted};
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const at::Tensor& tensor = tensors[i];
    if ((wanted >> i & 1) == 0) {
      continue;
    }
    if (!tensor.defined() || tensor.numel() != size || tensor.dtype() != dtype ||
        !lies_plainly(*tensor.unsafeGetTensorImpl())) {
      seen_ = {};
      return false;
    }
    seen.data[i] = tensor.mutable_data_ptr();
  }
  seen_ = std::move(seen);
  return true;
}

at::Tensor* FusedParamState::find(const std::string& name) {
  for (std::size_t i = 0; i < layout_->size; ++i) {
    if (layout_->names[i] == name) {
      return &tensors[i];
    }
  }
  return nullptr;
}

void FusedParamState::visit_tensors(const TensorVisitor& visit) {
  forget_seen();
  for (std::size_t i = 0; i < layout_->size; ++i) {
    visit(tensors[i]);
  }
}

void FusedParamState::serialize(torch::serialize::InputArchive& archive) {
  c10::IValue value;
  if (archive.try_read("step", value)) {
    // Python and newer writers have a tensor.
    set_step(value.isTensor() ? static_cast<std::int64_t>(value.toTensor().item<double>())
                              : value.toInt());
  }
  for (std::size_t i = 0; i < layout_->size; ++i) {
    tensors[i].reset();
    if (archive.try_read(layout_->names[i], value)) {
      tensors[i] = value.toTensor();
    }
  }
}

void FusedParamState::serialize(torch::serialize::OutputArchive& archive) const {
  if (layout_->counts_steps) {
    archive.write("step", c10::IValue(step()));
  }
  for (std::size_t i = 0; i < layout_->size; ++i) {
    if (tensors[i].defined()) {
      archive.write(layout_->names[i], c10::IValue(tensors[i]));
    }
  }
}

}  // namespace fabric
