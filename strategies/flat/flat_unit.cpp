#include <strategies/flat/flat_unit.h>

#include <algorithm>
#include <utility>

#include <ATen/ATen.h>

#include <accelerators/error.h>
#include <accelerators/ordinary_scope.h>
#include <strategies/deferred_init.h>
#include <strategies/flat/parameter_use.h>
#include <strategies/flat/shard_copy.h>
#include <strategies/write_announcement.h>

namespace fabric {
namespace {

ShardLayout layout_of(const std::vector<NamedTensor>& parameters, int world) {
  std::vector<std::int64_t> numels;
  for (const NamedTensor& named : parameters) {
    numels.push_back(named.tensor.numel());
  }
  return make_shard_layout(numels, parameters.front().tensor.element_size(), world);
}

at::ScalarType gathered_dtype(const at::Tensor& parameter, const UnitFormat& format) {
  return parameter.is_floating_point() && format.parameters ? *format.parameters
                                                            : parameter.scalar_type();
}

}  // namespace

FlatUnit::FlatUnit(std::string name, std::vector<NamedTensor> parameters, c10::Device device,
                   const Communicator& ranks, const Communicator& everyone,
                   const UnitFormat& format)
    : name_(std::move(name)),
      members_(std::move(parameters)),
      layout_(layout_of(members_, ranks.size())),
      rank_(ranks.rank()),
      whole_(
          layout_.total, gathered_dtype(members_.front().tensor, format), device,
          detail::str("[fabric.fsdp] raw access to a sharded parameter of unit '", name_,
                      "', whose values are not on this rank. Hint: read it through an operator, ",
                      "which gathers it (w.clone(), on all ranks).")) {
  const OrdinaryScope ordinary;
  const at::Tensor values =
      at::zeros({layout_.total}, whole_.flat().options().dtype(members_.front().tensor.dtype()));
  for (std::size_t i = 0; i < members_.size(); ++i) {
    const at::Tensor& parameter = members_[i].tensor;
    materialise({parameter}, device);
    place_of(values, i).copy_(parameter);
    whole_.adopt(parameter, layout_.offsets[i]);
  }
  everyone.broadcast(values, 0).wait();
  const at::Tensor own = values.narrow(0, rank_ * layout_.shard, layout_.shard);
  shard_ = format.shard_on_host && !own.is_cpu() ? own.cpu().pin_memory() : own.clone();
  cut_segments(std::vector<int>(members_.size(), 0));
}

at::Tensor FlatUnit::place_of(const at::Tensor& flat, std::size_t index) const {
  const at::Tensor& part = whole_.part(layout_.offsets[index], members_[index].tensor);
  return flat.as_strided(part.sizes(), part.strides(), layout_.offsets[index]);
}

void FlatUnit::start_unshard(const Communicator& ranks) {
  if (!whole_.allocated()) {
    const OrdinaryScope ordinary;
    whole_.allocate();
    gather_ = gather_shards(ranks, whole_.flat(), shard_);
  }
}

void FlatUnit::finish_unshard() {
  gather_.wait();
  whole_.show();
}

void FlatUnit::reshard() {
  gather_.wait();
  whole_.hide();
  whole_.release();
}

void FlatUnit::keep_written(std::int64_t begin, std::int64_t end) {
  const OrdinaryScope ordinary;
  fabric::keep_written(shard_, layout_, rank_, whole_.flat(), begin, end);
}

void FlatUnit::hold_whole(const Communicator& ranks) {
  const EngineScope scope;
  held_ = at::empty({layout_.total}, whole_.flat().options().dtype(shard_.dtype()));
  gather_shards(ranks, held_, shard_).wait();
  for (std::size_t i = 0; i < members_.size(); ++i) {
    members_[i].tensor.set_data(place_of(held_, i).variable_data());
  }
}

void FlatUnit::release_whole() {
  const EngineScope scope;
  shard_.copy_(held_.narrow(0, rank_ * layout_.shard, layout_.shard));
  for (std::size_t i = 0; i < members_.size(); ++i) {
    const at::Tensor& parameter = members_[i].tensor;
    if (parameter.has_storage() && parameter.storage().is_alias_of(held_.storage())) {
      whole_.adopt(parameter, layout_.offsets[i]);
    }  // else it was replaced: `readopt` finds it
  }
  held_.reset();
}

void FlatUnit::take_update() {
  updated_ = false;
  for (const NamedTensor& member : members_) {
    member.tensor.unsafeGetTensorImpl()->bump_version();
  }
}

bool FlatUnit::readopt(const std::string& model) {
  bool found = false;
  for (std::size_t i = 0; i < members_.size(); ++i) {
    const auto& [name, parameter] = members_[i];
    if (whole_.holds(parameter)) {
      continue;
    }
    FABRIC_CHECK(
        Routing,
        (parameter.scalar_type() == shard_.scalar_type() ||
         parameter.scalar_type() == whole_.flat().scalar_type()) &&
            parameter.device() == whole_.flat().device() && parameter.numel() == layout_.numels[i],
        "[fabric.fsdp] parameter '", name, "' of ", model, " was replaced after setup; ", "got ",
        parameter.scalar_type(), " ", parameter.sizes(), " on ", parameter.device(), "; expected ",
        shard_.scalar_type(), " with ", layout_.numels[i], " elements on ", whole_.flat().device(),
        ". Hint: convert or move the model before fabric.setup.");
    announce_write();
    const EngineScope scope;
    const at::Tensor values = parameter.variable_data();
    whole_.adopt(parameter, layout_.offsets[i]);
    copy_into_shard(shard_, layout_, rank_, i, values, parameter.strides());
    found = true;
  }
  return found;
}

void FlatUnit::cut_segments(const std::vector<int>& numbers) {
  std::vector<ShardSegment> segments;
  for (std::size_t i = 0; i < members_.size(); ++i) {
    if (i == 0 || numbers[i] != numbers[i - 1]) {
      segments.emplace_back();
    }
    segments.back().members.push_back(i);
  }
  for (ShardSegment& segment : segments) {
    const std::size_t first = segment.members.front();
    const std::size_t last = segment.members.back();
    const auto same =
        std::find_if(segments_.begin(), segments_.end(),
                     [&](const ShardSegment& before) { return before.members == segment.members; });
    if (same != segments_.end()) {
      segment = std::move(*same);  // an optimizer may hold its tensor
      same->members.clear();
      continue;
    }
    segment.range = layout_.in_shard(rank_, layout_.offsets[first],
                                     layout_.offsets[last] + layout_.numels[last]);
    segment.parameter = part_of(shard_, segment.range.begin, segment.range.size);
    // With the key, so that a step is noticed whoever makes it (LibTorch's SGD writes through
    // `data()`, which moves no version counter).
    add_parameter_key(segment.parameter);
    segment.parameter.set_requires_grad(true);
  }
  segments_ = std::move(segments);
}

}  // namespace fabric
