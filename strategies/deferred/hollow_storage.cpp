#include <strategies/deferred/hollow_storage.h>

#include <utility>

#include <ATen/ATen.h>
#include <c10/core/DefaultDtype.h>

#include <accelerators/ordinary_scope.h>
#include <strategies/flat/parameter_use.h>

namespace fabric {
namespace {

constexpr std::size_t kCopiedConstant = std::size_t{1} << 20;  // bytes

void delete_hollow(void* hollow) {
  delete static_cast<HollowStorage*>(hollow);
}

}  // namespace

const HollowStorage* hollow_storage_of(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.is_meta() || !tensor.has_storage()) {
    return nullptr;
  }
  const at::DataPtr& data = tensor.storage().unsafeGetStorageImpl()->_mutable_data_ptr_no_checks();
  return data.get_deleter() == &delete_hollow ? static_cast<HollowStorage*>(data.get_context())
                                              : nullptr;
}

void make_hollow(const at::Tensor& tensor, const std::shared_ptr<Tape>& tape) {
  c10::StorageImpl* storage = tensor.storage().unsafeGetStorageImpl();
  storage->set_data_ptr_noswap(at::DataPtr(nullptr, new HollowStorage{tape, tape->add_storage()},
                                           &delete_hollow, c10::Device(c10::kMeta)));
  storage->set_throw_on_mutable_data_ptr();  // where there would be a null pointer
}

TapeView tape_view(const at::Tensor& tensor) {
  return {.storage = hollow_storage_of(tensor)->number,
          .sizes = tensor.sizes().vec(),
          .strides = tensor.strides().vec(),
          .offset = tensor.storage_offset(),
          .dtype = tensor.scalar_type()};
}

TapeResult tape_result(std::size_t number, const at::Tensor& tensor) {
  return {.number = number,
          .view = tape_view(tensor),
          .nbytes = static_cast<std::int64_t>(tensor.storage().nbytes())};
}

TapeTensor tape_tensor(const at::Tensor& tensor) {
  return hollow_storage_of(tensor) != nullptr ? TapeTensor{.view = tape_view(tensor)}
                                              : TapeTensor{.constant = tensor};
}

void keep_constant(TapeTensor& tensor) {
  at::Tensor& constant = tensor.constant;
  if (tensor.view || !constant.defined() || constant.is_meta() ||
      constant.unsafeGetTensorImpl()->is_wrapped_number()) {
    return;
  }
  const at::NoGradGuard no_grad;
  if (constant.is_inference() || constant.key_set().has(kParameterKey) ||
      constant.nbytes() <= kCopiedConstant) {
    const OrdinaryScope ordinary;
    constant = constant.clone();
  } else {
    tensor.version = constant._version();
    constant = constant.detach();
  }
}

at::Tensor deferred_copy(const at::Tensor& constant, const std::shared_ptr<Tape>& tape) {
  static const c10::OperatorHandle to =
      c10::Dispatcher::singleton().findSchemaOrThrow("aten::to", "device");
  const at::Tensor copy = at::empty(constant.sizes(), constant.options().device(c10::kMeta));
  make_hollow(copy, tape);
  TapeTensor source{.constant = constant};
  keep_constant(source);
  TapeOperator operation{.op = to};
  operation.arguments.push_back(
      {.form = TapeArgument::Form::tensor, .value = {}, .tensors = {std::move(source)}});
  for (const c10::IValue& value :  // device, dtype, non_blocking, copy, memory_format
       {c10::IValue(copy.device()), c10::IValue(copy.scalar_type()), c10::IValue(false),
        c10::IValue(true), c10::IValue(c10::MemoryFormat::Contiguous)}) {
    operation.arguments.push_back(
        {.form = TapeArgument::Form::value, .value = value, .tensors = {}});
  }
  operation.made.push_back(tape_result(0, copy));
  operation.default_dtype = c10::get_default_dtype();
  tape->add(std::move(operation));
  return copy;
}

}  // namespace fabric
