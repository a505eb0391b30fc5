#include <strategies/deferred/tape.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <utility>

#include <ATen/ATen.h>
#include <c10/core/DefaultDtype.h>

#include <accelerators/error.h>
#include <strategies/flat/boxed_tensors.h>
#include <strategies/flat/parameter_use.h>

namespace fabric {
namespace {

std::atomic<int> tapes_alive{0};

// The default generator of a device, put back at the end.
class BorrowedGenerator {
 public:
  explicit BorrowedGenerator(c10::Device device)
      : generator_(at::globalContext().defaultGenerator(device)) {
    const std::lock_guard lock(generator_.mutex());
    state_ = generator_.get_state();
  }
  ~BorrowedGenerator() {
    const std::lock_guard lock(generator_.mutex());
    generator_.set_state(state_);
  }
  BorrowedGenerator(const BorrowedGenerator&) = delete;
  BorrowedGenerator& operator=(const BorrowedGenerator&) = delete;
  at::Generator& get() { return generator_; }

 private:
  at::Generator generator_;
  at::Tensor state_;
};

class BorrowedDefaultDtype {
 public:
  BorrowedDefaultDtype() : before_(c10::get_default_dtype()) {}
  ~BorrowedDefaultDtype() { c10::set_default_dtype(before_); }
  BorrowedDefaultDtype(const BorrowedDefaultDtype&) = delete;
  BorrowedDefaultDtype& operator=(const BorrowedDefaultDtype&) = delete;

 private:
  caffe2::TypeMeta before_;
};

at::Tensor view_of(const c10::Storage& storage, const TapeView& view, c10::Device device) {
  at::Tensor tensor = at::empty({0}, at::TensorOptions().dtype(view.dtype).device(device));
  tensor.set_(storage, view.offset, view.sizes, view.strides);
  return tensor;
}

template <class Visit>
void visit_views(const TapeOperator& operation, Visit&& visit) {
  for (const TapeArgument& argument : operation.arguments) {
    for (const TapeTensor& tensor : argument.tensors) {
      if (tensor.view) {
        visit(tensor.view->storage);
      }
    }
  }
}

// A storage of its own that is laid out as on the tape.
c10::Storage storage_as_recorded(const at::Tensor& result, const TapeResult& made, bool aliases) {
  if (!aliases && result.sizes() == made.view.sizes && result.strides() == made.view.strides &&
      result.storage_offset() == made.view.offset) {
    return result.storage();
  }
  FABRIC_CHECK(
      Misconfiguration, result.sizes() == made.view.sizes, "[fabric.setup] the shape of a ",
      "tensor depends on values that a build with empty_init does not have; got ", result.sizes(),
      "; expected ", at::IntArrayRef(made.view.sizes), ". Hint: build without empty_init.");
  const auto item_size = static_cast<std::int64_t>(result.element_size());
  const at::Tensor flat = at::empty({made.nbytes / item_size}, result.options());
  flat.as_strided(made.view.sizes, made.view.strides, made.view.offset).copy_(result);
  return flat.storage();
}

}  // namespace

Tape::Tape() {
  ++tapes_alive;
}

Tape::~Tape() {
  --tapes_alive;
}

int Tape::alive() {
  return tapes_alive;
}

std::size_t Tape::add_storage() {
  writers_.emplace_back();
  return writers_.size() - 1;
}

void Tape::add(TapeOperator operation) {
  const auto note = [&](std::size_t storage) {
    std::vector<std::size_t>& writers = writers_[storage];
    if (writers.empty() || writers.back() != operators_.size()) {
      writers.push_back(operators_.size());
    }
  };
  for (const std::size_t storage : operation.written) {
    note(storage);
  }
  for (const TapeResult& result : operation.made) {
    note(result.view.storage);
  }
  operators_.push_back(std::move(operation));
}

std::set<std::size_t> Tape::needed_for(std::size_t storage) const {
  std::set<std::size_t> needed;
  std::unordered_map<std::size_t, std::size_t> looked_at;  // storage: its writers before this
  std::vector<std::pair<std::size_t, std::size_t>> open = {{storage, operators_.size()}};
  while (!open.empty()) {
    const auto [wanted, before] = open.back();
    open.pop_back();
    std::size_t& done = looked_at[wanted];
    if (done >= before) {
      continue;
    }
    for (const std::size_t writer : writers_[wanted]) {
      if (writer >= done && writer < before && needed.insert(writer).second) {
        visit_views(operators_[writer],
                    [&, writer = writer](std::size_t taken) { open.emplace_back(taken, writer); });
      }
    }
    looked_at[wanted] = before;
  }
  return needed;
}

c10::Storage Tape::replay(std::size_t storage, c10::Device device) const {
  const EngineScope scope;
  const BorrowedDefaultDtype dtype;
  BorrowedGenerator generator(device);

  const std::set<std::size_t> needed = needed_for(storage);
  std::unordered_map<std::size_t, std::size_t> last_use;
  for (const std::size_t index : needed) {
    visit_views(operators_[index], [&](std::size_t taken) { last_use[taken] = index; });
    for (const TapeResult& made : operators_[index].made) {
      last_use[made.view.storage] = index;
    }
  }
  Storages storages;
  for (const std::size_t index : needed) {
    run(operators_[index], device, generator.get(), storages);
    std::erase_if(storages, [&](const auto& item) {
      return item.first != storage && last_use.at(item.first) == index;
    });
  }
  return storages.at(storage);
}

void Tape::run(const TapeOperator& operation, c10::Device device, at::Generator& generator,
               Storages& storages) {
  const auto real = [&](const TapeTensor& tensor) {
    if (tensor.view) {
      return view_of(storages.at(tensor.view->storage), *tensor.view, device);
    }
    const at::Tensor& constant = tensor.constant;
    FABRIC_CHECK(Misconfiguration, !constant.defined() || !constant.is_meta(),
                 "[fabric.setup] a parameter was computed by ", operation.op.schema().name(),
                 " from a meta tensor that no init_module has made. Hint: make it inside the ",
                 "function that is given to init_module.");
    FABRIC_CHECK(Misconfiguration, !tensor.version || constant._version() == *tensor.version,
                 "[fabric.setup] a tensor of ", constant.sizes(), " that a module was built from (",
                 operation.op.schema().name(), ") was changed in place before setup. Hint: build ",
                 "from a clone of it.");
    return constant;
  };
  torch::jit::Stack stack;
  std::set<const c10::StorageImpl*> taken;
  for (const TapeArgument& argument : operation.arguments) {
    switch (argument.form) {
      case TapeArgument::Form::value: {
        const bool was_meta = argument.value.isDevice() && argument.value.toDevice().is_meta();
        stack.push_back(was_meta ? c10::IValue(device) : argument.value);
        break;
      }
      case TapeArgument::Form::tensor:
        stack.emplace_back(real(argument.tensors.front()));
        break;
      case TapeArgument::Form::list: {
        c10::List<at::Tensor> list;
        for (const TapeTensor& tensor : argument.tensors) {
          list.push_back(real(tensor));
        }
        stack.emplace_back(std::move(list));
        break;
      }
      case TapeArgument::Form::optional_list: {
        c10::List<std::optional<at::Tensor>> list;
        for (const TapeTensor& tensor : argument.tensors) {
          const at::Tensor value = real(tensor);
          list.push_back(value.defined() ? std::optional(value) : std::nullopt);
        }
        stack.emplace_back(std::move(list));
        break;
      }
    }
    visit_tensors(stack.back(), [&](const at::Tensor& tensor) {
      if (tensor.defined() && tensor.has_storage()) {
        taken.insert(tensor.storage().unsafeGetStorageImpl());
      }
    });
  }
  c10::set_default_dtype(operation.default_dtype);
  if (operation.seed) {
    const std::lock_guard lock(generator.mutex());
    generator.set_current_seed(*operation.seed);
  }
  operation.op.callBoxed(stack);
  std::size_t number = 0;
  for (const c10::IValue& returned : stack) {
    visit_tensors(returned, [&](const at::Tensor& result) {
      for (const TapeResult& made : operation.made) {
        if (made.number == number) {
          // `to` of a constant returns the constant itself where it need not move any more.
          const bool aliases = taken.contains(result.storage().unsafeGetStorageImpl());
          storages.insert_or_assign(made.view.storage, storage_as_recorded(result, made, aliases));
        }
      }
      ++number;
    });
  }
}

}  // namespace fabric
