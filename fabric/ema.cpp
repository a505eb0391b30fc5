#include <fabric/ema.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include <ATen/ATen.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/serialize/archive.h>

#include <accelerators/error.h>
#include <fabric/checkpoint/sharded_bytes.h>
#include <fabric/checkpoint/state_node.h>
#include <fabric/full_parameters.h>
#include <strategies/flat/parameter_use.h>

namespace fabric {
namespace {

bool averages(const at::Tensor& tensor) {
  return tensor.is_floating_point() || tensor.is_complex();
}

at::ScalarType average_dtype(at::ScalarType dtype) {
  return dtype == at::kHalf || dtype == at::kBFloat16 ? at::kFloat : dtype;
}

void copy_all(const std::vector<at::Tensor>& to, const std::vector<at::Tensor>& from) {
  if (!to.empty()) {
    at::_foreach_copy_(to, from);
  }
}

const NamedTensor* find(const std::vector<NamedTensor>& tensors, const std::string& name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const NamedTensor& each) { return each.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

}  // namespace

struct EMA::Shared {
  std::string label;
  std::shared_ptr<ManagedModel> managed;
  std::shared_ptr<Strategy> strategy;
  ModelTensors tensors;
  EMAOptions options;
  std::int64_t calls = 0;
  std::int64_t updates = 0;
  std::vector<std::string> names{};    // of the averages
  std::vector<at::Tensor> averages{};  // in the order of `weights`
  std::vector<at::Tensor> own{};       // the model's own weights while the averaged ones are in

  bool swapped() const { return !own.empty(); }

  // Where this rank keeps what is averaged.
  std::vector<NamedTensor> weights() const {
    const auto parts = managed->own_parts();
    std::vector<NamedTensor> all = parts ? *parts : tensors.parameters;
    if (options.buffers) {
      all.insert(all.end(), tensors.buffers.begin(), tensors.buffers.end());
    }
    std::set<const c10::TensorImpl*> seen;
    std::erase_if(all, [&](const NamedTensor& each) {  // shared ones are listed twice
      return !fabric::averages(each.tensor) ||
             !seen.insert(each.tensor.unsafeGetTensorImpl()).second;
    });
    return all;
  }

  // One of the averages: of a tensor by its name, or of a unit's shard.
  struct Average {
    std::string name;
    at::Tensor tensor;
    std::shared_ptr<const UnitShards> unit;  // null for a whole tensor
  };
  std::vector<Average> by_name() const {
    std::vector<Average> all;
    static_cast<void>(managed->own_parts());  // throws while the shards are elsewhere
    const auto units = managed->unit_shards();
    for (std::size_t i = 0; i < averages.size(); ++i) {
      all.push_back({names[i], averages[i], nullptr});
      for (const auto& unit : units) {
        all.back().unit = unit->name == names[i] ? unit : all.back().unit;
      }
    }
    return all;
  }

  std::vector<at::Tensor> weight_tensors() const {
    std::vector<at::Tensor> all;
    for (NamedTensor& each : weights()) {
      all.push_back(std::move(each.tensor));
    }
    return all;
  }

  void set_weights(const std::vector<at::Tensor>& values) {
    copy_all(weight_tensors(), values);
    managed->own_parts_changed();
  }

  void swap_in() {
    FABRIC_CHECK(Routing, !swapped(), "[fabric.ema] ", label, " has the averaged weights already. ",
                 "Hint: one swapped() at a time.");
    const EngineScope scope;
    std::vector<at::Tensor> kept;
    for (const at::Tensor& weight : weight_tensors()) {
      kept.push_back(weight.detach().clone());
    }
    set_weights(averages);
    own = std::move(kept);
  }

  void swap_out() {
    const EngineScope scope;
    set_weights(own);
    own.clear();
  }
};

EMA::EMA(detail::ModelCore& core, ModelTensors tensors, EMAOptions options)
    : shared_(std::make_shared<Shared>(Shared{.label = core.label,
                                              .managed = core.managed,
                                              .strategy = core.strategy,
                                              .tensors = std::move(tensors),
                                              .options = options})) {
  FABRIC_CHECK(Misconfiguration, options.decay >= 0 && options.decay < 1,
               "[fabric.ema] the average would never be one; got decay=", options.decay,
               "; expected 0 or more and less than 1, for example 0.999");
  FABRIC_CHECK(Misconfiguration, options.every > 0, "[fabric.ema] got every=", options.every,
               "; expected a number of steps, at least 1");
  const EngineScope scope;
  for (const NamedTensor& weight : shared_->weights()) {
    shared_->names.push_back(weight.name);
    shared_->averages.push_back(
        weight.tensor.detach().to(average_dtype(weight.tensor.scalar_type()), false, true));
  }
}

EMA::Shared& EMA::shared() const {
  FABRIC_CHECK(NotLaunched, shared_ != nullptr, "[fabric.ema] this EMA is empty. Hint: assign ",
               "fabric::EMA(model) before you use it.");
  return *shared_;
}

void EMA::update() {
  Shared& own = shared();
  FABRIC_CHECK(Routing, !own.swapped(), "[fabric.ema] update() while ", own.label, " has the ",
               "averaged weights. Hint: end the scope of swapped() first.");
  if (++own.calls % own.options.every != 0) {
    return;
  }
  const EngineScope scope;
  const auto n = static_cast<double>(own.updates + 1);
  const double decay =
      own.options.warmup ? std::min(own.options.decay, (1 + n) / (10 + n)) : own.options.decay;
  // One call for all tensors of a dtype and device.
  using Kind = std::tuple<at::ScalarType, c10::DeviceType, c10::DeviceIndex>;
  std::map<Kind, std::pair<std::vector<at::Tensor>, std::vector<at::Tensor>>> alike;
  const std::vector<at::Tensor> weights = own.weight_tensors();
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const at::Tensor& average = own.averages[i];
    FABRIC_CHECK(Routing,
                 weights[i].sizes() == average.sizes() && weights[i].device() == average.device(),
                 "[fabric.ema] '", own.names[i], "' of ", own.label, " has changed; got ",
                 weights[i].sizes(), " on ", weights[i].device(), "; expected ", average.sizes(),
                 " on ", average.device(), ". Hint: make the EMA when the model is as it will be.");
    auto& [to, from] =
        alike[{average.scalar_type(), average.device().type(), average.device().index()}];
    to.push_back(average);
    from.push_back(weights[i].detach().to(average.scalar_type()));
  }
  for (const auto& [kind, tensors] : alike) {
    at::_foreach_lerp_(tensors.first, tensors.second, 1 - decay);
  }
  ++own.updates;
}

std::int64_t EMA::updates() const {
  return shared().updates;
}

AveragedWeights EMA::swapped() {
  shared().swap_in();
  return AveragedWeights([shared = shared_] { shared->swap_out(); });
}

void EMA::copy(const ModelTensors& other, bool to_other) {
  Shared& own = shared();
  std::vector<std::pair<at::Tensor, at::Tensor>> pairs;  // ours, theirs
  const auto pair = [&](const std::vector<NamedTensor>& ours,
                        const std::vector<NamedTensor>& theirs, bool wanted) {
    for (const NamedTensor& mine : ours) {
      const NamedTensor* same = find(theirs, mine.name);
      FABRIC_CHECK(Misconfiguration, same != nullptr && same->tensor.sizes() == mine.tensor.sizes(),
                   "[fabric.ema] the other module is none of the same class; got ",
                   same == nullptr ? detail::str("no '", mine.name, "'")
                                   : detail::str(same->tensor.sizes(), " for '", mine.name, "'"),
                   "; expected ", mine.tensor.sizes(), ", as in ", own.label);
      if (wanted) {
        pairs.emplace_back(mine.tensor, same->tensor);
      }
    }
  };
  pair(own.tensors.parameters, other.parameters, true);
  pair(own.tensors.buffers, other.buffers, to_other || own.options.buffers);
  const AveragedWeights scope = swapped();
  const EngineScope ordinary;
  {
    const FullParameters whole(*own.managed);
    for (const auto& [mine, theirs] : pairs) {
      to_other ? theirs.copy_(mine) : mine.copy_(theirs);
    }
  }
  if (!to_other) {
    copy_all(own.averages, own.weight_tensors());
  }
}

// ---- state --------------------------------------------------------------------------------------

StateDict EMA::save_state(detail::SaveScope& /*scope*/) const {
  const Shared& own = shared();
  StateDict averages;
  averages.ordered = true;
  for (const Shared::Average& each : own.by_name()) {
    if (each.unit) {
      const auto bytes = std::make_shared<detail::ShardedUnitBytes>(each.unit, each.tensor);
      for (std::size_t member = 0; member < each.unit->members.size(); ++member) {
        averages.append(each.unit->members[member].name,
                        bytes->member(bytes, member));
      }
    } else {
      averages.append(each.name, each.tensor);
    }
  }
  return {{"calls", own.calls}, {"updates", own.updates}, {"average", std::move(averages)}};
}

void EMA::load_state(const StateDict& from, detail::LoadScope& scope) {
  Shared& own = shared();
  const StateValue* saved = from.find("average");
  if (saved == nullptr || !saved->is_dict() || !from.contains("calls") ||
      !from.contains("updates")) {
    scope.mismatch(detail::str("got ", StateValue(from).description(),
                               "; expected calls, updates and average"));
    return;
  }
  const auto find = [&](const std::string& name, at::IntArrayRef sizes) -> const StoredTensor* {
    const StateValue* value = saved->dict().find(name);
    if (value == nullptr) {
      scope.missing("average." + name);
      return nullptr;
    }
    if (!value->is_tensor() || value->stored().sizes() != sizes) {
      scope.mismatch(detail::str("got ", value->description(), " for '", name,
                                 "'; expected a tensor of shape ", sizes));
      return nullptr;
    }
    return &value->stored();
  };
  for (const Shared::Average& each : own.by_name()) {
    if (!each.unit) {
      if (const StoredTensor* stored = find(each.name, each.tensor.sizes())) {
        scope.read(*stored, each.tensor);
      }
      continue;
    }
    for (std::size_t member = 0; member < each.unit->members.size(); ++member) {
      const NamedTensor& named = each.unit->members[member];
      if (const StoredTensor* stored = find(named.name, named.tensor.sizes())) {
        const MemberPart part = each.unit->part(member);
        scope.read_part(*stored, named.tensor.strides(), part.begin, part.begin + part.size,
                        each.tensor.narrow(0, part.offset, part.size));
      }
    }
  }
  scope.then([shared = shared_, calls = from["calls"].as<std::int64_t>(),
              updates = from["updates"].as<std::int64_t>()] {
    shared->calls = calls;
    shared->updates = updates;
  });
}

void EMA::save(torch::serialize::OutputArchive& archive) const {
  const Shared& own = shared();
  archive.write("calls", c10::IValue(own.calls));
  archive.write("updates", c10::IValue(own.updates));
  archive.write("names",
                c10::IValue(c10::List<std::string>(c10::ArrayRef<std::string>(own.names))));
  for (std::size_t i = 0; i < own.averages.size(); ++i) {
    archive.write("average" + std::to_string(i), own.averages[i]);
  }
}

void EMA::load(torch::serialize::InputArchive& archive) {
  Shared& own = shared();
  c10::IValue calls;
  c10::IValue updates;
  c10::IValue names;
  FABRIC_CHECK(Checkpoint,
               archive.try_read("calls", calls) && archive.try_read("updates", updates) &&
                   archive.try_read("names", names) && calls.isInt() && updates.isInt(),
               "[fabric.ema] the archive holds no average; expected what EMA::save wrote");
  std::vector<at::Tensor> averages(own.averages.size());
  FABRIC_CHECK(Checkpoint, names.toListRef().size() == own.names.size(), "[fabric.ema] the saved ",
               "average is that of another model; got ", names.toListRef().size(),
               " tensors; expected ", own.names.size(), ", as in ", own.label);
  for (std::size_t i = 0; i < averages.size(); ++i) {
    const std::string name = names.toListRef()[i].toStringRef();
    archive.read("average" + std::to_string(i), averages[i]);
    FABRIC_CHECK(Checkpoint, name == own.names[i] && averages[i].sizes() == own.averages[i].sizes(),
                 "[fabric.ema] the saved average does not fit ", own.label, "; got ",
                 averages[i].sizes(), " for '", name, "'; expected ", own.averages[i].sizes(),
                 " for '", own.names[i], "'. Hint: under fsdp a rank saves its shards, for the ",
                 "same world and units; copy_to and copy_from carry an average elsewhere.");
  }
  const EngineScope scope;
  copy_all(own.averages, averages);
  own.calls = calls.toInt();
  own.updates = updates.toInt();
}

torch::serialize::OutputArchive& operator<<(torch::serialize::OutputArchive& archive,
                                            const EMA& ema) {
  ema.save(archive);
  return archive;
}

torch::serialize::InputArchive& operator>>(torch::serialize::InputArchive& archive, EMA& ema) {
  ema.load(archive);
  return archive;
}

}  // namespace fabric
