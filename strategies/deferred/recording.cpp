#include <strategies/deferred/recording.h>

#include <algorithm>
#include <mutex>
#include <string_view>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/DefaultDtype.h>

#include <accelerators/error.h>
#include <strategies/deferred/hollow_storage.h>
#include <strategies/flat/boxed_tensors.h>
#include <strategies/flat/parameter_use.h>
#include <strategies/flat/storage_map.h>

namespace fabric {
namespace {

using Form = TapeArgument::Form;

bool draws_random_numbers(const c10::OperatorHandle& op) {
  const auto& arguments = op.schema().arguments();
  return op.hasTag(at::Tag::nondeterministic_seeded) ||
         std::any_of(arguments.begin(), arguments.end(),
                     [](const c10::Argument& argument) { return argument.name() == "generator"; });
}

std::uint64_t draw_seed(const at::Generator& given) {
  at::Generator generator =
      given.defined() && given.device().is_cpu() ? given : at::detail::getDefaultCPUGenerator();
  const std::lock_guard lock(generator.mutex());
  return at::check_generator<at::CPUGeneratorImpl>(generator)->random64();
}

TapeArgument tape_argument(const c10::IValue& value) {
  TapeArgument argument{.form = value.isTensor()               ? Form::tensor
                                : value.isTensorList()         ? Form::list
                                : value.isOptionalTensorList() ? Form::optional_list
                                                               : Form::value,
                        .value = {},
                        .tensors = {}};
  if (argument.form == Form::value) {
    argument.value = value;
  } else if (argument.form == Form::optional_list) {
    for (const std::optional<at::Tensor> tensor : value.toOptionalTensorList()) {
      argument.tensors.push_back(tape_tensor(tensor.value_or(at::Tensor())));
    }
  } else {
    visit_tensors(
        value, [&](const at::Tensor& tensor) { argument.tensors.push_back(tape_tensor(tensor)); });
  }
  return argument;
}

// LibTorch's ways to say that it cannot do this on meta.
bool lacks_values(const c10::Error& error) {
  const std::string_view text = error.what_without_backtrace();
  return dynamic_cast<const c10::NotImplementedError*>(&error) != nullptr ||
         text.find("meta tensor") != text.npos || text.find("Meta kernel") != text.npos;
}

bool aliases(const c10::Argument& argument) {
  return argument.alias_info() != nullptr;
}

bool is_tensor(const c10::Argument& argument) {
  return argument.type()->isSubtypeOf(*c10::TensorType::get()) ||
         argument.type()->isSubtypeOf(*c10::ListType::ofTensors());
}

}  // namespace

Recording::Recording(const c10::OperatorHandle& op, torch::jit::Stack& stack,
                     std::shared_ptr<Tape> scope)
    : op_(op),
      stack_(stack),
      count_(op.schema().arguments().size()),
      depth_(stack.size() - count_),
      arguments_(stack.begin() + static_cast<std::ptrdiff_t>(depth_), stack.end()),
      scope_(std::move(scope)) {
  for (const c10::IValue& argument : arguments_) {
    visit_tensors(argument, [this](const at::Tensor& tensor) { look_at(tensor); });
  }
}

void Recording::look_at(const at::Tensor& tensor) {
  takes_tensors_ |= tensor.defined();
  if (const HollowStorage* hollow = hollow_storage_of(tensor)) {
    FABRIC_CHECK(Misconfiguration, tape_ == nullptr || tape_ == hollow->tape,
                 "[fabric.init_module] ", op_.schema().name(), " takes tensors of two modules ",
                 "that were built by different calls with empty_init and have no values yet. ",
                 "Hint: build both in one call, or set one up first.");
    tape_ = hollow->tape;
    watched_ |= tensor.key_set().has(kParameterKey);
  }
}

void Recording::run() {
  prepare_arguments();
  call();
  note_results();
}

// Notes them before the operator runs, which may change their shapes.
void Recording::prepare_arguments() {
  for (std::size_t i = 0; i < count_; ++i) {
    c10::IValue& value = stack_[depth_ + i];
    const c10::Argument& argument = op_.schema().arguments()[i];
    if (value.isGenerator()) {
      generator_ = value.toGenerator();
      value = c10::IValue();
    }
    if (!takes_tensors_ && argument.name() == "device" && scope_ != nullptr &&
        (value.isNone() || (value.isDevice() && value.toDevice().is_meta()))) {
      value = c10::Device(c10::kMeta);
      placed_ = i;
    }
    if (tape_ != nullptr && !aliases(argument)) {
      value = change_tensors(value, [this](const at::Tensor& real) { return placed_alike(real); });
    }
    noted_.push_back(tape_argument(value));
    for (const TapeTensor& tensor : noted_.back().tensors) {
      if (tensor.view && aliases(argument) && argument.alias_info()->isWrite()) {
        written_.push_back(tensor.view->storage);
        written_argument_ = value;
      }
    }
  }
}

// A build mixes tensors with and without a device of their own, all of them on the CPU. On others
// that would not do: constants go where deferred tensors will be.
at::Tensor Recording::placed_alike(const at::Tensor& tensor) const {
  const bool real = tensor.defined() && tensor.dim() > 0 && !tensor.is_meta();
  const std::string& name = op_.schema().name();
  return real && name != "aten::copy_" && name != "aten::to" ? deferred_copy(tensor, tape_)
                                                             : tensor;
}

void Recording::call() {
  try {
    op_.callBoxed(stack_);
  } catch (const c10::Error& error) {
    if (!lacks_values(error)) {
      throw;
    }
    stack_.resize(depth_);
    if (!run_otherwise()) {
      FABRIC_CHECK(Misconfiguration, tape_ == nullptr, "[fabric.init_module] ", op_.schema().name(),
                   " needs values, which a module that is built with empty_init has only after ",
                   "fabric.setup. Hint: build without empty_init, or compute this from tensors ",
                   "with a device of their own (torch::kCPU).");
      throw;
    }
  }
}

// For operators that LibTorch cannot run on meta.
bool Recording::run_otherwise() {
  return run_in_place() || run_factory() || run_on_zeros();
}

// Nothing is to be known of what an operator in place returns.
bool Recording::run_in_place() {
  const auto& returns = op_.schema().returns();
  if (written_.size() != 1 || returns.size() != 1 || !aliases(returns[0]) ||
      !returns[0].alias_info()->isWrite()) {
    return false;
  }
  stack_.push_back(written_argument_);
  return true;
}

// A factory runs at once, and its result is a constant.
bool Recording::run_factory() {
  if (!placed_) {
    return false;
  }
  stack_.insert(stack_.end(), arguments_.begin(), arguments_.end());
  stack_[depth_ + *placed_] = c10::Device(c10::kCPU);
  op_.callBoxed(stack_);
  if (!arguments_[*placed_].isNone()) {  // on meta, as others that it will be used with
    stack_.back() = deferred_copy(stack_.back().toTensor(), scope_);
  }
  return true;
}

// Others run on zeros of the same shapes, and what they return tells the shapes of the results.
bool Recording::run_on_zeros() {
  const auto& schema = op_.schema();
  if (tape_ == nullptr || op_.hasTag(at::Tag::data_dependent_output) ||
      op_.hasTag(at::Tag::dynamic_output_shape) ||
      std::any_of(schema.arguments().begin(), schema.arguments().end(), aliases) ||
      !std::all_of(schema.returns().begin(), schema.returns().end(), is_tensor)) {
    return false;
  }
  for (std::size_t i = 0; i < count_; ++i) {
    const c10::IValue& given = noted_[i].value;
    const bool device = given.isDevice() && given.toDevice().is_meta();
    stack_.push_back(device ? c10::IValue(c10::Device(c10::kCPU))
                            : change_tensors(arguments_[i], [](const at::Tensor& tensor) {
                                return !tensor.defined() || !tensor.is_meta()
                                           ? tensor
                                           : at::zeros_like(tensor,
                                                            tensor.options().device(c10::kCPU));
                              }));
  }
  try {
    op_.callBoxed(stack_);
  } catch (const c10::Error&) {  // of zeros
    stack_.resize(depth_);
    return false;
  }
  for (std::size_t i = depth_; i < stack_.size(); ++i) {
    stack_[i] = change_tensors(stack_[i], [](const at::Tensor& tensor) {
      return !tensor.defined() ? tensor
                               : at::empty_strided(tensor.sizes(), tensor.strides(),
                                                   tensor.options().device(c10::kMeta));
    });
  }
  return true;
}

void Recording::note_results() {
  TapeOperator operation{.op = op_};
  if (op_.schema().name() != "aten::set_") {  // which puts a tensor on another storage only
    operation.written = written_;
  }
  std::size_t number = 0;
  for (std::size_t i = depth_; i < stack_.size(); ++i) {
    visit_tensors(stack_[i], [&](const at::Tensor& result) {
      if (result.defined() && result.is_meta() && result.has_storage() &&
          hollow_storage_of(result) == nullptr && !was_argument(result)) {
        if (tape_ == nullptr) {
          tape_ = scope_;
        }
        make_hollow(result, tape_);
        operation.made.push_back(tape_result(number, result));
        if (watched_) {
          add_parameter_key(result);  // so that `set_data` takes it for the same type
        }
      }
      ++number;
    });
  }
  if (operation.made.empty() && operation.written.empty()) {
    return;
  }
  for (TapeArgument& argument : noted_) {
    std::for_each(argument.tensors.begin(), argument.tensors.end(), keep_constant);
  }
  operation.arguments = std::move(noted_);
  operation.default_dtype = c10::get_default_dtype();
  if (draws_random_numbers(op_)) {
    operation.seed = draw_seed(generator_);
  }
  tape_->add(std::move(operation));
}

// A meta tensor of the program's own stays one.
bool Recording::was_argument(const at::Tensor& result) const {
  bool found = false;
  for (const c10::IValue& argument : arguments_) {
    visit_tensors(argument, [&](const at::Tensor& tensor) {
      found |= tensor.defined() && storage_of(tensor) == storage_of(result);
    });
  }
  return found;
}

}  // namespace fabric
