#include <strategies/flat/parameter_use.h>

#include <atomic>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/csrc/autograd/graph_task.h>
#include <torch/library.h>

namespace fabric {
namespace {

// Scopes open on this thread. Autograd's threads see the exclusion of the key instead, which
// LibTorch hands on to them.
thread_local int scopes = 0;
std::atomic<bool> key_needed_in_calls{false};

struct Watched {
  std::string name;
  std::weak_ptr<UseListener> listener;
};

// By storage, so that a view leads to its parameter.
struct WatchedMap {
  std::mutex mutex;
  std::unordered_map<const void*, Watched> of_storage;
};

WatchedMap& watched_map() {
  static WatchedMap& map = *new WatchedMap;  // graphs may end after static objects
  return map;
}

const void* storage_of(const at::Tensor& tensor) {
  return tensor.has_storage() ? tensor.storage().unsafeGetStorageImpl() : nullptr;
}

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

bool differentiable(const at::Tensor& tensor) {
  return tensor.defined() && tensor.key_set().has(kParameterKey) && tensor.requires_grad();
}

bool accounted_for() {
  return scopes > 0 || !at::GradMode::is_enabled() ||
         torch::autograd::get_current_graph_task_id() >= 0;
}

void ask_listener(const std::string& operator_name, const at::Tensor& tensor,
                  std::vector<std::function<void()>>& flows) {
  if (!differentiable(tensor)) {
    return;
  }
  std::string name;
  std::shared_ptr<UseListener> listener;
  {
    const std::lock_guard lock(watched_map().mutex);
    const auto found = watched_map().of_storage.find(storage_of(tensor));
    if (found == watched_map().of_storage.end()) {
      return;
    }
    listener = found->second.listener.lock();
    name = found->second.name;
  }
  if (listener) {
    if (auto flow = listener->before_use(name, operator_name)) {
      flows.push_back(std::move(flow));
    }
  }
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

template <class Visit>
void visit_tensors(const c10::IValue& value, Visit&& visit) {
  if (value.isTensor()) {
    visit(value.toTensor());
  } else if (value.isTensorList()) {
    for (const at::Tensor& tensor : value.toTensorVector()) {
      visit(tensor);
    }
  } else if (value.isOptionalTensorList()) {
    for (const std::optional<at::Tensor> tensor : value.toOptionalTensorList()) {
      if (tensor) {
        visit(*tensor);
      }
    }
  }
}

void before_operator(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack* stack) {
  std::vector<std::function<void()>> flows;
  const auto& schema = op.schema();
  if (!accounted_for() && !schema.returns().empty() && !only_reads(schema.name()) &&
      schema.returns().front().type()->kind() != c10::TypeKind::BoolType) {
    const std::size_t count = schema.arguments().size();
    for (std::size_t i = stack->size() - count; i < stack->size(); ++i) {
      visit_tensors((*stack)[i],
                    [&](const at::Tensor& tensor) { ask_listener(schema.name(), tensor, flows); });
    }
  }
  {
    const c10::impl::ExcludeDispatchKeyGuard below(kParameterKey);
    op.callBoxed(stack);
  }
  if (!flows.empty()) {
    for (std::size_t i = stack->size() - schema.returns().size(); i < stack->size(); ++i) {
      visit_tensors((*stack)[i],
                    [&](const at::Tensor& result) { call_when_gradient_flows(result, flows); });
    }
  }
}

}  // namespace

void register_parameter_key() {
  static torch::Library library(torch::Library::IMPL, "_", kParameterKey, __FILE__, __LINE__);
  static const bool registered = [] {
    library.fallback(torch::CppFunction::makeFromBoxedFunction<&before_operator>());
    return true;
  }();
  (void)registered;
}

void need_parameter_key_in_calls() {
  key_needed_in_calls = true;
}

void add_parameter_key(const at::Tensor& tensor) {
  if (tensor.key_set().has(kParameterKey)) {
    return;
  }
  const c10::impl::ExcludeDispatchKeyGuard below(kParameterKey);
  auto tagged =
      c10::make_intrusive<c10::TensorImpl>(c10::TensorImpl::VIEW, c10::Storage(tensor.storage()),
                                           tensor.key_set().add(kParameterKey), tensor.dtype());
  tagged->set_sizes_and_strides(tensor.sizes(), tensor.strides(), tensor.storage_offset());
  tensor.set_data(at::Tensor(std::move(tagged)));
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

ParameterUse::ParameterUse(const std::string& operator_name,
                           const std::vector<at::Tensor>& arguments) {
  if (!accounted_for()) {
    for (const at::Tensor& argument : arguments) {
      ask_listener(operator_name, argument, flows_);
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
  const std::lock_guard lock(watched_map().mutex);
  for (const void* storage : storages_) {
    watched_map().of_storage.erase(storage);
  }
  storages_.clear();
  for (const NamedTensor& named : parameters_) {
    add_parameter_key(named.tensor);
    storages_.push_back(storage_of(named.tensor));
    watched_map().of_storage[storages_.back()] = {named.name, listener_};
  }
}

void WatchedParameters::refresh() {
  if (!parameters_.empty() && !parameters_.front().tensor.key_set().has(kParameterKey)) {
    watch();
  }
}

WatchedParameters::~WatchedParameters() {
  const std::lock_guard lock(watched_map().mutex);
  for (const void* storage : storages_) {
    watched_map().of_storage.erase(storage);
  }
}

}  // namespace fabric
