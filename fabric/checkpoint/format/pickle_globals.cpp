#include <fabric/checkpoint/format/pickle_globals.h>

#include <algorithm>
#include <array>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/torch_dtypes.h>

namespace fabric::detail {
namespace {

struct Known {
  std::string_view name;
  PickleFunction function;
};

constexpr auto kKnown = std::to_array<Known>({
    {"collections.OrderedDict", PickleFunction::ordered_dict},
    {"collections.Counter", PickleFunction::counter},
    {"collections.defaultdict", PickleFunction::default_dict},
    {"builtins.set", PickleFunction::set},
    {"builtins.frozenset", PickleFunction::frozenset},
    {"builtins.complex", PickleFunction::complex},
    {"builtins.bytes", PickleFunction::bytes},
    {"builtins.bytearray", PickleFunction::bytearray},
    {"builtins.list", PickleFunction::builtin_class},
    {"builtins.dict", PickleFunction::builtin_class},
    {"builtins.tuple", PickleFunction::builtin_class},
    {"builtins.int", PickleFunction::builtin_class},
    {"builtins.float", PickleFunction::builtin_class},
    {"builtins.bool", PickleFunction::builtin_class},
    {"builtins.str", PickleFunction::builtin_class},
    {"_codecs.encode", PickleFunction::encode},
    {"torch.Size", PickleFunction::size},
    {"torch.device", PickleFunction::device},
    {"torch.serialization._get_layout", PickleFunction::layout},
    {"torch.storage.UntypedStorage", PickleFunction::untyped_storage},
    {"torch.Tensor", PickleFunction::tensor_class},
    {"torch.nn.parameter.Parameter", PickleFunction::parameter_class},
    {"torch._utils._rebuild_tensor", PickleFunction::rebuild_tensor},
    {"torch._utils._rebuild_tensor_v2", PickleFunction::rebuild_tensor},
    {"torch._utils._rebuild_tensor_v3", PickleFunction::rebuild_tensor_v3},
    {"torch._utils._rebuild_parameter", PickleFunction::rebuild_parameter},
    {"torch._utils._rebuild_parameter_with_state", PickleFunction::rebuild_parameter},
    {"torch._tensor._rebuild_from_type_v2", PickleFunction::rebuild_from_type},
    {"torch.tensor._rebuild_from_type_v2", PickleFunction::rebuild_from_type},
    {"torch._utils._rebuild_device_tensor_from_cpu_tensor", PickleFunction::rebuild_from_cpu},
    {"builtins.getattr", PickleFunction::get_attribute},
});

struct Refused {
  std::string_view name;
  std::string_view what;
};

constexpr auto kRefused = std::to_array<Refused>({
    {"torch._utils._rebuild_qtensor", "a quantised tensor"},
    {"torch._utils._rebuild_sparse_tensor", "a sparse tensor"},
    {"torch._utils._rebuild_sparse_csr_tensor", "a sparse tensor"},
    {"torch._utils._rebuild_nested_tensor", "a nested tensor"},
    {"torch.nested._internal.nested_tensor._rebuild_njt", "a nested tensor"},
    {"torch._utils._rebuild_meta_tensor_no_storage", "a tensor without values (meta)"},
    {"torch._utils._rebuild_wrapper_subclass", "a subclass of Tensor"},
    {"torch.distributed.tensor.DTensor", "a DTensor"},
    {"torch._utils._rebuild_device_tensor_from_numpy", "a tensor made from a numpy array"},
});

}  // namespace

std::string pickle_global_name(std::string_view module, std::string_view name) {
  // Protocol 2 has the names of Python 2.
  return str(module == "__builtin__" ? "builtins" : module, ".", name);
}

std::optional<PickleGlobal> find_pickle_global(std::string_view module, std::string_view name) {
  if (module == "torch") {
    if (const TorchDtype* dtype = find_torch_dtype(name)) {
      return PickleGlobal{PickleFunction::dtype, dtype->dtype, str("torch.", name)};
    }
    if (const TorchDtype* dtype = find_torch_storage(name)) {
      return PickleGlobal{PickleFunction::storage, dtype->dtype, str("torch.", name)};
    }
  }
  std::string full = pickle_global_name(module, name);
  const auto known = std::find_if(kKnown.begin(), kKnown.end(),
                                  [&](const Known& each) { return each.name == full; });
  if (known == kKnown.end()) {
    return std::nullopt;
  }
  return PickleGlobal{known->function, c10::ScalarType::Undefined, std::move(full)};
}

std::string_view refused_pickle_global(std::string_view full_name) {
  const auto refused = std::find_if(kRefused.begin(), kRefused.end(),
                                    [&](const Refused& each) { return each.name == full_name; });
  return refused == kRefused.end() ? std::string_view() : refused->what;
}

}  // namespace fabric::detail
