#include <strategies/deferred_init.h>

#include <memory>
#include <unordered_map>
#include <utility>

#include <ATen/ATen.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <strategies/deferred/hollow_storage.h>
#include <strategies/deferred/recording.h>
#include <strategies/deferred/tape.h>
#include <strategies/flat/parameter_use.h>
#include <strategies/flat/storage_map.h>
#include <strategies/flat/transient_storage.h>

namespace fabric {
namespace {

// The scopes open on this thread, and what they record on.
thread_local int scopes = 0;
thread_local std::shared_ptr<Tape> scope_tape;

}  // namespace

DeferredInit::DeferredInit()
    : included_(c10::impl::tls_is_dispatch_key_included(kParameterKey)),
      excluded_(c10::impl::tls_is_dispatch_key_excluded(kParameterKey)) {
  register_parameter_key();
  if (scopes++ == 0) {
    scope_tape = std::make_shared<Tape>();
  }
  c10::impl::tls_set_dispatch_key_excluded(kParameterKey, false);
  c10::impl::tls_set_dispatch_key_included(kParameterKey, true);
}

DeferredInit::~DeferredInit() {
  c10::impl::tls_set_dispatch_key_included(kParameterKey, included_);
  c10::impl::tls_set_dispatch_key_excluded(kParameterKey, excluded_);
  if (--scopes == 0) {
    scope_tape.reset();
  }
}

bool is_deferred(const at::Tensor& tensor) {
  return hollow_storage_of(tensor) != nullptr;
}

void materialise(const std::vector<at::Tensor>& tensors, c10::Device device) {
  const EngineScope scope;
  // Storages without memory stay until the end: their number is that of the real one.
  std::unordered_map<const c10::StorageImpl*, std::pair<c10::Storage, c10::Storage>> storages;
  for (const at::Tensor& tensor : tensors) {
    const HollowStorage* hollow = hollow_storage_of(tensor);
    if (hollow == nullptr) {
      continue;
    }
    auto& [before, real] = storages[storage_of(tensor)];
    if (!real) {
      before = tensor.storage();
      real = hollow->tape->replay(hollow->number, device);
    }
    at::Tensor data = at::empty({0}, at::TensorOptions().dtype(tensor.dtype()).device(device));
    data.set_(real, tensor.storage_offset(), tensor.sizes(), tensor.strides());
    put_data(tensor, data);
  }
}

void keep_recording(const std::vector<at::Tensor>& tensors) {
  for (const at::Tensor& tensor : tensors) {
    if (is_deferred(tensor)) {
      add_parameter_key(tensor);
    }
  }
}

bool record_operator(const c10::OperatorHandle& op, torch::jit::Stack& stack) {
  if (Tape::alive() == 0) {
    return false;
  }
  Recording recording(op, stack, scope_tape);
  if (recording.wanted()) {
    recording.run();
  }
  return recording.wanted();
}

}  // namespace fabric
