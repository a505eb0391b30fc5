#include <fabric/detail/run_state.h>

#include <mutex>
#include <string_view>

#include <ATen/ATen.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/autocast_mode.h>
#include <c10/core/DefaultDtype.h>
#include <torch/nn/module.h>

#include <fabric/activation_checkpoint.h>

namespace fabric {
namespace {

std::vector<at::Generator> default_generators() {
  std::vector<at::Generator> generators{at::globalContext().defaultGenerator(c10::kCPU)};
  if (at::globalContext().hasCUDA()) {  // not getAccelerator, which only asks how it was built
    const auto index = at::accelerator::getDeviceIndex();
    if (at::globalContext().getAcceleratorHooksInterface(c10::kCUDA).hasPrimaryContext(index)) {
      generators.push_back(at::globalContext().defaultGenerator({c10::kCUDA, index}));
    }
  }
  return generators;
}

}  // namespace

bool recomputing() noexcept {
  return detail::OpenCalls::running_again();
}

namespace detail {

// ---- random numbers -----------------------------------------------------------------------------

RandomState RandomState::now() {
  RandomState now;
  for (at::Generator& generator : default_generators()) {
    const std::lock_guard lock(generator.mutex());
    at::Tensor state = generator.get_state();
    now.states_.emplace_back(std::move(generator), std::move(state));
  }
  return now;
}

void RandomState::restore() const {
  for (auto [generator, state] : states_) {
    const std::lock_guard lock(generator.mutex());
    generator.set_state(state);
  }
}

std::size_t RandomState::fingerprint() const {
  std::size_t hash = states_.size();
  for (const auto& [generator, state] : states_) {
    const std::string_view bytes(static_cast<const char*>(state.const_data_ptr()), state.nbytes());
    hash = c10::hash_combine(hash, std::hash<std::string_view>()(bytes));
  }
  return hash;
}

// ---- number formats -----------------------------------------------------------------------------

NumberFormats NumberFormats::now() {
  NumberFormats now;
  for (std::size_t i = 0; i < std::size(kDevices); ++i) {
    now.autocast_[i] = {at::autocast::is_autocast_enabled(kDevices[i]),
                        at::autocast::get_autocast_dtype(kDevices[i])};
  }
  now.cache_ = at::autocast::is_autocast_cache_enabled();
  now.default_dtype_ = c10::typeMetaToScalarType(c10::get_default_dtype());
  return now;
}

void NumberFormats::set() const {
  for (std::size_t i = 0; i < std::size(kDevices); ++i) {
    at::autocast::set_autocast_enabled(kDevices[i], autocast_[i].enabled);
    at::autocast::set_autocast_dtype(kDevices[i], autocast_[i].dtype);
  }
  at::autocast::set_autocast_cache_enabled(cache_);
  if (c10::typeMetaToScalarType(c10::get_default_dtype()) != default_dtype_) {
    c10::set_default_dtype(c10::scalarTypeToTypeMeta(default_dtype_));  // of the whole process
  }
}

AutocastCacheScope::AutocastCacheScope() {
  at::autocast::clear_cache();
}

AutocastCacheScope::~AutocastCacheScope() {
  at::autocast::clear_cache();
}

// ---- a run --------------------------------------------------------------------------------------

RunState::RunState(bool random)
    : formats_(NumberFormats::now()),
      uses_(UseAccounting::now()),
      calls_(OpenCalls::now()),
      random_(random) {
  if (random_) {
    before_ = RandomState::now();
    after_ = before_->fingerprint();
  }
}

void RunState::end() {
  if (random_) {
    const std::size_t after = RandomState::now().fingerprint();
    if (after == std::exchange(after_, after)) {
      before_.reset();
    }
  }
}

RunState::Scope::Scope(const RunState& first, const torch::nn::Module* module)
    : first_(first), formats_(first.formats_), uses_(first.uses_), calls_(first.calls_) {
  bool training = false;
  if (module != nullptr) {
    module->apply([&](const torch::nn::Module& part) { training |= part.is_training(); });
  }
  if (training) {
    const at::NoGradGuard no_grad;
    for (const at::Tensor& buffer : module->buffers()) {
      if (buffer.defined()) {
        buffers_.emplace_back(buffer, buffer.clone());
      }
    }
  }
  if (first.random_) {
    random_before_ = RandomState::now();
    if (first.before_) {
      first.before_->restore();
    }
  }
}

bool RunState::Scope::drew_the_same() const {
  if (!first_.random_) {
    return true;
  }
  return RandomState::now().fingerprint() ==
         (first_.before_ ? first_.after_ : random_before_->fingerprint());
}

RunState::Scope::~Scope() {
  if (random_before_) {
    random_before_->restore();
  }
  const at::NoGradGuard no_grad;
  for (const auto& [buffer, value] : buffers_) {
    buffer.variable_data().copy_(value);  // moves no version: the graph may have saved the buffer
  }
}

}  // namespace detail
}  // namespace fabric
