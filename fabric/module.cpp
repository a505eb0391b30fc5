#include <fabric/module.h>

#include <c10/util/Type.h>

namespace fabric {
namespace {

// "NetImpl" from "my::NetImpl"; holders are called by what they hold.
std::string short_name(std::string name) {
  const std::size_t end = name.find('<');
  const std::size_t colon = name.rfind("::", end);
  if (colon != std::string::npos) {
    name = name.substr(colon + 2);
  }
  if (name.size() > 4 && name.ends_with("Impl")) {
    name.resize(name.size() - 4);
  }
  return name;
}

c10::IValue convert(const c10::IValue& value,
                    const std::function<at::Tensor(const at::Tensor&)>& map) {
  if (value.isTensor() && value.toTensor().defined()) {
    return map(value.toTensor());
  }
  if (value.isTuple()) {
    std::vector<c10::IValue> elements;
    for (const c10::IValue& element : value.toTupleRef().elements()) {
      elements.push_back(convert(element, map));
    }
    return c10::ivalue::Tuple::create(std::move(elements));
  }
  if (value.isTensorList()) {
    c10::List<at::Tensor> list;
    for (const at::Tensor& tensor : value.toTensorVector()) {
      list.push_back(map(tensor));
    }
    return list;
  }
  return value;
}

}  // namespace

c10::IValue FabricModule<torch::jit::Module>::forward(std::vector<c10::IValue> inputs) const {
  detail::TypedCore<torch::jit::Module>& core = checked_core();
  const Precision& precision = *core.precision;
  const bool outermost = !detail::RoutedCall::inside(core);
  const at::ScalarType dtype = Precision::output_dtype();
  return detail::route(core, [&] {
    if (!outermost || !precision.converts()) {
      return core.module->forward(std::move(inputs));
    }
    for (c10::IValue& input : inputs) {
      input = convert(input, [&](const at::Tensor& t) { return precision.convert_input(t); });
    }
    return convert(core.module->forward(std::move(inputs)),
                   [&](const at::Tensor& t) { return precision.convert_output(t, dtype); });
  });
}

std::vector<at::Tensor> FabricModule<torch::jit::Module>::parameters(bool recurse) const {
  std::vector<at::Tensor> list;
  for (const at::Tensor& parameter : module().parameters(recurse)) {
    list.push_back(parameter);
  }
  return list;
}

std::vector<at::Tensor> FabricModule<torch::jit::Module>::buffers(bool recurse) const {
  std::vector<at::Tensor> list;
  for (const at::Tensor& buffer : module().buffers(recurse)) {
    list.push_back(buffer);
  }
  return list;
}

void FabricModule<torch::jit::Module>::zero_grad(bool set_to_none) const {
  for (at::Tensor& parameter : parameters()) {
    at::Tensor& grad = parameter.mutable_grad();
    if (!grad.defined()) {
      continue;
    }
    if (set_to_none) {
      grad.reset();
    } else {
      grad.detach_().zero_();
    }
  }
}

namespace detail {

ModuleView view_of(torch::nn::Module& module) {
  return {
      .label = short_name(module.name()),
      .tensors =
          [&module] {
            ModelTensors tensors;
            for (const auto& item : module.named_parameters()) {
              tensors.parameters.push_back({item.key(), item.value()});
            }
            for (const auto& item : module.named_buffers()) {
              if (item.value().defined()) {
                tensors.buffers.push_back({item.key(), item.value()});
              }
            }
            return tensors;
          },
      .move = [&module](c10::Device device) { module.to(device); },
      .convert = [&module](at::ScalarType dtype) { module.to(dtype); },
      .training = [&module] { return module.is_training(); },
  };
}

ModuleView view_of(torch::jit::Module& module) {
  const auto name = module.type()->name();
  return {
      .label = name ? short_name(name->name()) : std::string("ScriptModule"),
      .tensors =
          [&module] {
            ModelTensors tensors;
            for (const auto& item : module.named_parameters()) {
              tensors.parameters.push_back({item.name, item.value});
            }
            for (const auto& item : module.named_buffers()) {
              tensors.buffers.push_back({item.name, item.value});
            }
            return tensors;
          },
      .move = [&module](c10::Device device) { module.to(device); },
      .convert = [&module](at::ScalarType dtype) { module.to(dtype); },
      .training = [&module] { return module.is_training(); },
  };
}

std::vector<BatchNormLayer> batch_norms_of(torch::nn::Module& module) {
  std::vector<BatchNormLayer> layers;
  // apply, since modules() throws for a module on the stack.
  module.apply([&layers](const std::string& name, torch::nn::Module& child) {
    const auto add = [&](const auto* norm) {
      if (norm != nullptr) {
        layers.push_back({name, norm->running_mean.defined() ? norm->running_mean : norm->weight});
      }
    };
    add(dynamic_cast<torch::nn::BatchNorm1dImpl*>(&child));
    add(dynamic_cast<torch::nn::BatchNorm2dImpl*>(&child));
    add(dynamic_cast<torch::nn::BatchNorm3dImpl*>(&child));
  });
  return layers;
}

std::vector<BatchNormLayer> batch_norms_of(torch::jit::Module& module) {
  std::vector<BatchNormLayer> layers;
  for (const auto& item : module.named_modules()) {
    const auto name = item.value.type()->name();
    if (!name || name->name().find("BatchNorm") == std::string::npos) {
      continue;
    }
    BatchNormLayer layer{item.name, {}};
    for (const char* attribute : {"weight", "running_mean"}) {
      if (item.value.hasattr(attribute) && item.value.attr(attribute).isTensor() &&
          item.value.attr(attribute).toTensor().defined()) {
        layer.anchor = item.value.attr(attribute).toTensor();
      }
    }
    layers.push_back(layer);
  }
  return layers;
}

}  // namespace detail
}  // namespace fabric
