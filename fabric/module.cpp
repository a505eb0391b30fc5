#include <fabric/module.h>

#include <set>

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

}  // namespace

c10::IValue RegisteredMethod::run(std::vector<c10::IValue> inputs) const {
  return detail::route(
      *core_, options_, std::hash<std::string>()(name_),
      [this](std::vector<c10::IValue> inner) {
        return core_->module->get_method(name_)(std::move(inner));
      },
      std::move(inputs));
}

c10::IValue FabricModule<torch::jit::Module>::forward(std::vector<c10::IValue> inputs) const {
  checked_core();
  return RegisteredMethod(core_, "forward", {}).run(std::move(inputs));
}

RegisteredMethod FabricModule<torch::jit::Module>::register_forward_method(
    const std::string& name, EntryOptions options) const {
  detail::TypedCore<torch::jit::Module>& core = checked_core();
  FABRIC_CHECK(Misconfiguration, name != "forward", "[fabric.register_forward_method] forward is ",
               "an entry of every model. Hint: call model.forward({…}).");
  if (!core.module->find_method(name)) {
    std::vector<std::string> methods;
    for (const auto& method : core.module->get_methods()) {
      methods.push_back(method.name());
    }
    FABRIC_CHECK(Misconfiguration, false, "[fabric.register_forward_method] ", core.label,
                 " has no method '", name, "'; it defines ",
                 methods.empty() ? "none" : detail::list_or(methods));
  }
  detail::add_entry(core, {name, EntryOrigin::registered, options});
  return RegisteredMethod(core_, name, options);
}

c10::IValue FabricModule<torch::jit::Module>::run_method(const std::string& name,
                                                         std::vector<c10::IValue> inputs) const {
  const detail::TypedCore<torch::jit::Module>& core = checked_core();
  std::vector<std::string> names;
  for (const Entry& entry : core.entries) {
    if (entry.name == name) {
      return RegisteredMethod(core_, name, entry.options).run(std::move(inputs));
    }
    names.push_back(entry.name);
  }
  FABRIC_CHECK(Routing, false, "[fabric.run_method] '", name, "' is no entry of ", core.label,
               "; expected ", detail::list_or(names), ". Hint: model.register_forward_method(\"",
               name, "\") first.");
  return {};
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
            std::set<std::string> containers;
            // apply, since modules() throws for a module on the stack.
            module.apply([&](const std::string& name, torch::nn::Module& child) {
              const std::size_t dot = name.rfind('.');
              const std::string parent = dot == std::string::npos ? "" : name.substr(0, dot);
              tensors.modules.push_back({.name = name,
                                         .class_name = short_name(child.name()),
                                         .element = !name.empty() && containers.contains(parent),
                                         .module = &child});
              if (dynamic_cast<torch::nn::ModuleListImpl*>(&child) != nullptr ||
                  dynamic_cast<torch::nn::ModuleDictImpl*>(&child) != nullptr ||
                  dynamic_cast<torch::nn::SequentialImpl*>(&child) != nullptr) {
                containers.insert(name);
              }
            });
            return tensors;
          },
      .move = [&module](c10::Device device) { module.to(device); },
      .training = [&module] { return module.is_training(); },
      .switch_mode = [&module](bool training) -> std::function<void()> {
        // Parents before children (apply's order), so that each ends in its own mode.
        std::vector<std::pair<torch::nn::Module*, bool>> modes;
        bool differs = false;
        module.apply([&](torch::nn::Module& child) {
          modes.emplace_back(&child, child.is_training());
          differs |= child.is_training() != training;
        });
        if (!differs) {
          return nullptr;
        }
        module.train(training);
        return [modes = std::move(modes)] {
          for (const auto& [child, mode] : modes) {
            child->train(mode);
          }
        };
      },
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
            std::set<std::string> containers;
            for (const auto& item : module.named_modules()) {
              const std::size_t dot = item.name.rfind('.');
              const std::string parent = dot == std::string::npos ? "" : item.name.substr(0, dot);
              const auto type = item.value.type()->name();
              const std::string class_name = type ? short_name(type->name()) : "";
              tensors.modules.push_back(
                  {.name = item.name,
                   .class_name = class_name,
                   .element = !item.name.empty() && containers.contains(parent)});
              if (class_name == "ModuleList" || class_name == "ModuleDict" ||
                  class_name == "Sequential") {
                containers.insert(item.name);
              }
            }
            return tensors;
          },
      .move = [&module](c10::Device device) { module.to(device); },
      .training = [&module] { return module.is_training(); },
      .switch_mode = [&module](bool training) -> std::function<void()> {
        std::vector<std::pair<torch::jit::Module, bool>> modes;
        bool differs = false;
        for (const torch::jit::Module& child : module.modules()) {
          if (child.hasattr("training")) {
            modes.emplace_back(child, child.is_training());
            differs |= child.is_training() != training;
          }
        }
        if (!differs) {
          return nullptr;
        }
        for (auto& [child, mode] : modes) {
          child.setattr("training", training);
        }
        return [modes = std::move(modes)] {
          for (auto [child, mode] : modes) {
            child.setattr("training", mode);
          }
        };
      },
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
