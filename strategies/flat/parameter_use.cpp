#include <strategies/flat/parameter_use.h>

#include <atomic>
#include <string_view>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/csrc/autograd/graph_task.h>
#include <torch/library.h>

#include <strategies/deferred_init.h>
#include <strategies/flat/boxed_tensors.h>
#include <strategies/flat/transient_storage.h>

namespace fabric {
namespace {

// Scopes open on this thread. Autograd's threads see the exclusion of the key instead, which
// LibTorch hands on to them.
thread_local int scopes = 0;
// Whether a function of the forward runs again in backward: being in backward says nothing then.
thread_local bool running_again = false;
std::atomic<bool> key_needed_in_calls{false};

// Operators that take a parameter and give nothing a gradient flows through. Those that return no
// tensor are recognised by their schema.
bool only_reads(std::string_view name) {
  name.remove_prefix(std::min(name.size(), std::string_view("aten::").size()));
  for (const std::string_view read : {"detach", "isnan", "isinf", "isfinite", "eq", "ne", "lt",
                                      "le", "gt", "ge", "argmax", "argmin", "isclose"}) {
    if (name == read) {
      return true;
    }
  }
  return name.ends_with("_like");
}

bool has_key(const at::Tensor& tensor) {
  return tensor.defined() && tensor.key_set().has(kParameterKey);
}

// Operators that look at sizes and dtypes only.
bool reads_no_values(std::string_view name) {
  return name.ends_with("_like") || name == "aten::size" || name == "aten::stride" ||
         name.starts_with("aten::is_") || name.starts_with("aten::sym_");
}

bool accounted_for() {
  return scopes > 0 || !at::GradMode::is_enabled() ||
         (!running_again && torch::autograd::get_current_graph_task_id() >= 0);
}

void call_when_gradient_flows(const at::Tensor& result,
                              const std::vector<std::function<void()>>& flows) {
  // Operators like contiguous may return the parameter itself: its later uses are seen anyway.
  if (result.defined() && result.requires_grad() && !result.is_leaf()) {
    for (const auto& flow : flows) {
      result.register_hook([flow](const at::Tensor&) { flow(); });
    }
  }
}

// The elements of its storage that a tensor covers.
std::pair<std::int64_t, std::int64_t> extent(const at::Tensor& tensor) {
  std::int64_t last = tensor.storage_offset();
  for (std::int64_t dim = 0; dim < tensor.dim(); ++dim) {
    last += (tensor.size(dim) - 1) * tensor.stride(dim);
  }
  return {tensor.storage_offset(), tensor.numel() == 0 ? tensor.storage_offset() : last + 1};
}

// Whether a write now is the user's, and not that of a call, of a backward or of a set-up step.
bool writes_are_heard() {
  return scopes == 0 && !running_again && torch::autograd::get_current_graph_task_id() < 0;
}

void announce(const StorageFacts& facts, const at::Tensor& tensor, const std::string& writer) {
  if (facts.listener) {
    facts.listener->before_write(facts.name, writer);
  }
  if (facts.keeper) {
    const auto [begin, end] = extent(tensor);
    facts.keeper->before_write(facts.number, begin, end, writer);
  }
}

}  // namespace

// One operator of the fallback.
class OperatorUse {
 public:
  OperatorUse(const c10::OperatorHandle& op, const torch::jit::Stack& stack)
      : schema_(op.schema()) {
    const auto& returns = schema_.returns();
    const bool ask = !accounted_for() && !returns.empty() && !only_reads(schema_.name()) &&
                     returns.front().type()->kind() != c10::TypeKind::BoolType;
    const bool keep = !reads_no_values(schema_.name());
    if (!ask && !keep) {
      return;
    }
    const auto& arguments = schema_.arguments();
    const std::size_t first = stack.size() - arguments.size();
    for (std::size_t i = 0; i < arguments.size(); ++i) {
      visit_tensors(stack[first + i], [&](const at::Tensor& tensor) {
        if (has_key(tensor)) {
          use_.look_at(schema_.name(), tensor, ask);
          const auto* alias = arguments[i].alias_info();
          if (alias != nullptr && alias->isWrite()) {
            const bool heard = writes_are_heard();
            StorageFacts facts = StorageMap::instance().find(tensor, heard);
            if (heard) {
              announce(facts, tensor, schema_.name());
            }
            if (facts.keeper) {
              written_.emplace_back(tensor, std::move(facts));
            }
          }
        }
      });
    }
    if (keep) {
      use_.acquire();
    }
  }

  /// Does what `set_` from a tensor of another dtype is meant to do, where it goes to a kept
  /// parameter (torch::load uses it): LibTorch's would read the source's bytes as the parameter's
  /// dtype. Whether it did.
  bool replace_data(torch::jit::Stack& stack) const {
    if (written_.empty() || schema_.name() != "aten::set_" ||
        schema_.overload_name() != "source_Tensor") {
      return false;
    }
    const at::Tensor source = stack[stack.size() - 1].toTensor();
    const at::Tensor self = stack[stack.size() - 2].toTensor();
    if (source.scalar_type() == self.scalar_type()) {
      return false;
    }
    self.set_data(source);
    stack.pop_back();  // leaves `self`, the result
    return true;
  }

  void returned(const torch::jit::Stack& stack) const {
    for (const auto& [tensor, before] : written_) {
      const StorageFacts now = StorageMap::instance().find(tensor, /*listeners=*/false);
      if (now.keeper == before.keeper && now.number == before.number) {
        const auto [begin, end] = extent(tensor);
        before.keeper->written(before.number, begin, end);
      } else {
        before.keeper->replaced(before.number);
      }
    }
    if (!use_.flows_.empty()) {
      for (std::size_t i = stack.size() - schema_.returns().size(); i < stack.size(); ++i) {
        visit_tensors(stack[i], [&](const at::Tensor& result) { use_.returned(result); });
      }
    }
  }

 private:
  const c10::FunctionSchema& schema_;
  ParameterUse use_;
  std::vector<std::pair<at::Tensor, StorageFacts>> written_;  // and where they were before
};

namespace {

void run_operator(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack* stack) {
  const OperatorUse use(op, *stack);
  {
    const c10::impl::ExcludeDispatchKeyGuard below(kParameterKey);
    if (!use.replace_data(*stack) && !record_operator(op, *stack)) {
      op.callBoxed(stack);
    }
  }
  use.returned(*stack);
}

}  // namespace

void announce_write(const at::Tensor& parameter, const std::string& writer) {
  if (writes_are_heard()) {
    announce(StorageMap::instance().find(parameter, /*listeners=*/true), parameter, writer);
  }
}

void register_parameter_key() {
  static torch::Library library(torch::Library::IMPL, "_", kParameterKey, __FILE__, __LINE__);
  static const bool registered = [] {
    library.fallback(torch::CppFunction::makeFromBoxedFunction<&run_operator>());
    return true;
  }();
  (void)registered;
}

void need_parameter_key_in_calls() {
  key_needed_in_calls = true;
}

at::Tensor with_parameter_key(const c10::Storage& storage, const at::Tensor& like,
                              std::int64_t storage_offset) {
  auto tagged =
      c10::make_intrusive<c10::TensorImpl>(c10::TensorImpl::VIEW, c10::Storage(storage),
                                           like.key_set().add(kParameterKey), like.dtype());
  tagged->set_sizes_and_strides(like.sizes(), like.strides(), storage_offset);
  return at::Tensor(std::move(tagged));
}

void add_parameter_key(const at::Tensor& tensor) {
  if (tensor.key_set().has(kParameterKey)) {
    return;
  }
  const c10::impl::ExcludeDispatchKeyGuard below(kParameterKey);
  put_data(tensor, with_parameter_key(tensor.storage(), tensor, tensor.storage_offset()));
}

RoutedScope::RoutedScope() noexcept
    : excluded_(!key_needed_in_calls && !c10::impl::tls_is_dispatch_key_excluded(kParameterKey)) {
  ++scopes;
  if (excluded_) {
    c10::impl::tls_set_dispatch_key_excluded(kParameterKey, true);
  }
}

RoutedScope::~RoutedScope() {
  --scopes;
  if (excluded_) {
    c10::impl::tls_set_dispatch_key_excluded(kParameterKey, false);
  }
}

UseAccounting UseAccounting::now() noexcept {
  UseAccounting now;
  now.scopes_ = scopes;
  now.excluded_ = c10::impl::tls_is_dispatch_key_excluded(kParameterKey);
  return now;
}

UseAccounting::Scope::Scope(const UseAccounting& first) noexcept
    : before_(now()), again_before_(running_again) {
  scopes = first.scopes_;
  running_again = true;
  c10::impl::tls_set_dispatch_key_excluded(kParameterKey, first.excluded_ && !key_needed_in_calls);
}

UseAccounting::Scope::~Scope() {
  scopes = before_.scopes_;
  running_again = again_before_;
  c10::impl::tls_set_dispatch_key_excluded(kParameterKey, before_.excluded_);
}

ParameterUse::ParameterUse(const std::string& operator_name,
                           const std::vector<at::Tensor>& arguments)
    : ParameterUse() {  // so that the destructor runs when acquiring throws
  const bool ask = !accounted_for();
  for (const at::Tensor& argument : arguments) {
    if (has_key(argument)) {
      look_at(operator_name, argument, ask);
    }
  }
  acquire();
}

void ParameterUse::look_at(const std::string& operator_name, const at::Tensor& tensor, bool ask) {
  StorageFacts facts = StorageMap::instance().find(tensor, ask && tensor.requires_grad());
  if (facts.listener) {
    if (auto flow = facts.listener->before_use(facts.name, operator_name)) {
      flows_.push_back(std::move(flow));
    }
  }
  if (facts.unparked) {
    parked_.emplace_back(tensor, std::move(facts.unparked));
  }
  if (facts.keeper) {
    for (const Kept& kept : kept_) {
      if (kept.keeper == facts.keeper && kept.number == facts.number) {
        return;
      }
    }
    kept_.push_back({std::move(facts.keeper), facts.number});
  }
}

void ParameterUse::acquire() {
  for (Kept& kept : kept_) {
    kept.keeper->acquire(kept.number);
    kept.acquired = true;
  }
  // Copies that know nothing of their keeper (`data()`), made while the memory was not there.
  for (const auto& [tensor, storage] : parked_) {
    if (storage_of(tensor) != storage.unsafeGetStorageImpl()) {
      tensor.unsafeGetTensorImpl()->set_allow_tensor_metadata_change(true);
      tensor.unsafeGetTensorImpl()->set_storage_keep_dtype(storage);
    }
  }
}

ParameterUse::~ParameterUse() {
  for (const Kept& kept : kept_) {
    if (kept.acquired) {
      kept.keeper->release(kept.number);
    }
  }
}

void ParameterUse::returned(const at::Tensor& result) const {
  call_when_gradient_flows(result, flows_);
}

WatchedParameters::WatchedParameters(std::vector<NamedTensor> parameters,
                                     std::weak_ptr<UseListener> listener)
    : parameters_(std::move(parameters)), listener_(std::move(listener)) {
  std::erase_if(parameters_, [](const NamedTensor& named) { return !named.tensor.has_storage(); });
  register_parameter_key();
  watch();
}

void WatchedParameters::watch() {
  forget();
  for (const NamedTensor& named : parameters_) {
    add_parameter_key(named.tensor);
    storages_.push_back(storage_of(named.tensor));
    StorageMap::instance().listen(named.tensor, named.name, listener_);
  }
}

void WatchedParameters::forget() {
  for (const c10::StorageImpl* storage : storages_) {
    StorageMap::instance().forget_listener(storage);
  }
  storages_.clear();
}

void WatchedParameters::refresh() {
  if (!parameters_.empty() && !parameters_.front().tensor.key_set().has(kParameterKey)) {
    watch();
  }
}

WatchedParameters::~WatchedParameters() {
  forget();
}

}  // namespace fabric
