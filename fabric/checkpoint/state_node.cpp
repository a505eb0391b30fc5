#include <fabric/checkpoint/state_node.h>

#include <algorithm>
#include <sstream>

#include <ATen/ATen.h>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/storage_plan.h>
#include <fabric/checkpoint/io/blobs.h>
#include <fabric/collectives.h>
#include <fabric/detail/model_core.h>
#include <strategies/flat/parameter_use.h>
#include <strategies/write_announcement.h>

namespace fabric::detail {
namespace {

bool same_order(at::IntArrayRef sizes, at::IntArrayRef first, at::IntArrayRef second) {
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] != 1 && first[i] != second[i]) {
      return false;
    }
  }
  return true;
}

std::int64_t item_size(at::ScalarType dtype) {
  return static_cast<std::int64_t>(c10::elementSize(dtype));
}

}  // namespace

// ---- the job ------------------------------------------------------------------------------------

int StateJob::rank() const {
  return group == nullptr ? 0 : group->control.rank();
}

int StateJob::world_size() const {
  return group == nullptr ? 1 : group->control.size();
}

std::shared_ptr<ModelCore> StateJob::model_of(const ModelTensors& tensors) const {
  for (const std::shared_ptr<ModelCore>& core : models) {
    for (const at::Tensor& own : core->parameters) {
      const bool found =
          std::any_of(tensors.parameters.begin(), tensors.parameters.end(),
                      [&](const NamedTensor& each) { return each.tensor.is_same(own); });
      if (found) {
        return core;
      }
    }
  }
  return nullptr;
}

// ---- parameters ---------------------------------------------------------------------------------

void ParameterIndex::add(const ModelTensors& tensors, ManagedModel* managed) {
  for (const NamedTensor& named : tensors.parameters) {
    names_.try_emplace(named.name, named.tensor);
  }
  if (managed == nullptr) {
    return;
  }
  for (const auto& unit : managed->unit_shards()) {
    for (std::size_t member = 0; member < unit->members.size(); ++member) {
      sharded_.try_emplace(unit->members[member].tensor.unsafeGetTensorImpl(),
                           Sharded{unit, member});
    }
  }
  if (managed->synchronises()) {
    for (const NamedTensor& named : tensors.parameters) {
      if (!sharded(named.tensor)) {
        replicated_.insert(named.tensor.unsafeGetTensorImpl());
      }
    }
  }
}

const ParameterIndex::Sharded* ParameterIndex::sharded(const at::Tensor& parameter) const {
  const auto found = sharded_.find(parameter.unsafeGetTensorImpl());
  return found == sharded_.end() ? nullptr : &found->second;
}

bool ParameterIndex::any_cut() const {
  return std::any_of(sharded_.begin(), sharded_.end(), [](const auto& item) {
    return item.second.unit->layout.shard != item.second.unit->layout.total;
  });
}

at::Tensor ParameterIndex::named(const std::string& name) const {
  const auto found = names_.find(name);
  return found == names_.end() ? at::Tensor() : found->second;
}

// ---- loading ------------------------------------------------------------------------------------

LoadScope::At::At(LoadScope& scope, const std::string& key)
    : scope_(scope), length_(scope.path_.size()) {
  scope.path_ = scope.full(key);
}

std::string LoadScope::full(const std::string& key) const {
  return key.empty() ? path_ : path_.empty() ? key : path_ + "." + key;
}

bool LoadScope::wants(const std::string& key) const {
  return !options.filter || options.filter(full(key));
}

void LoadScope::missing(const std::string& key) {
  if (options.strict) {
    missing_.push_back(full(key));
  }
}

void LoadScope::unexpected(const std::string& key) {
  if (options.strict) {
    unexpected_.push_back(full(key));
  }
}

void LoadScope::mismatch(const std::string& text) {
  mismatches_.push_back("'" + path_ + "': " + text);
}

void LoadScope::read(const StoredTensor& from, const at::Tensor& to) {
  reads_.push_back({.from = from, .to = to});
}

void LoadScope::read_part(const StoredTensor& from, at::IntArrayRef strides, std::int64_t begin,
                          std::int64_t end, const at::Tensor& to) {
  reads_.push_back(
      {.from = from, .to = to, .part = true, .strides = strides.vec(), .begin = begin, .end = end});
}

void LoadScope::check(const std::string& file) const {
  if (missing_.empty() && unexpected_.empty() && mismatches_.empty()) {
    return;
  }
  std::ostringstream text;
  text << "[fabric.load] " << file << " does not fit the state";
  const auto list = [&](const char* what, const std::vector<std::string>& names,
                        const char* quote) {
    constexpr std::size_t kShown = 20;
    if (names.empty()) {
      return;
    }
    text << ";" << what;
    for (std::size_t i = 0; i < std::min(kShown, names.size()); ++i) {
      text << (i == 0 ? " " : ", ") << quote << names[i] << quote;
    }
    if (names.size() > kShown) {
      text << " and " << names.size() - kShown << " more";
    }
  };
  list(" it lacks", missing_, "'");
  list(" nothing in the program takes", unexpected_, "'");
  list("", mismatches_, "");
  text << ". Nothing was changed.";
  if (!missing_.empty() || !unexpected_.empty()) {
    text << " Hint: {.strict = false} keeps what is not there and returns what is not known, "
            ".rename rewrites names of tensors.";
  }
  throw CheckpointError(text.str());
}

void LoadScope::run_reads() {
  announce_write();
  const EngineScope scope;
  std::vector<BlobRead> direct;
  std::vector<const Read*> staged;
  for (const Read& read : reads_) {
    const StoredTensor& from = read.from;
    const at::Tensor& to = read.to;
    if (to.numel() == 0) {
      continue;
    }
    const at::IntArrayRef order = read.part ? at::IntArrayRef(read.strides) : to.strides();
    const bool as_it_lies = from.is_dense() && same_order(from.sizes(), from.strides(), order) &&
                            (!read.part || to.is_contiguous());
    if (!as_it_lies || !to.is_cpu() || from.dtype() != to.scalar_type()) {
      staged.push_back(&read);
      continue;
    }
    const std::int64_t item = item_size(from.dtype());
    direct.push_back({.bytes = from.bytes().get(),
                      .begin = (from.offset() + read.begin) * item,
                      .size = to.numel() * item,
                      .to = to.mutable_data_ptr()});
  }
  read_blobs(direct);
  for (const Read& read : reads_) {
    if (!read.to.is_inference()) {
      read.to.unsafeGetTensorImpl()->bump_version();
    }
  }
  for (const Read* read : staged) {
    const StoredTensor& from = read->from;
    if (!read->part) {
      read->to.copy_(from.clone());
      continue;
    }
    const std::int64_t count = read->end - read->begin;
    if (from.is_dense() && same_order(from.sizes(), from.strides(), read->strides)) {
      const at::Tensor part = at::empty({count}, at::TensorOptions().dtype(from.dtype()));
      const std::int64_t item = item_size(from.dtype());
      read_blobs({{from.bytes().get(), (from.offset() + read->begin) * item, count * item,
                   part.mutable_data_ptr()}});
      read->to.copy_(part);
      continue;
    }
    // Another order of elements: the part lies all over the tensor.
    const at::Tensor whole = from.clone();
    const at::Tensor ordered = at::empty_strided(whole.sizes(), read->strides, whole.options());
    ordered.copy_(whole);
    read->to.copy_(at::as_strided(ordered, {count}, {1}, read->begin));
  }
}

void LoadScope::run_commits() {
  for (const auto* list : {&commits_, &last_commits_}) {
    for (const auto& commit : *list) {
      commit();
    }
  }
}

}  // namespace fabric::detail
