#include <strategies/flat/flat_unit.h>

#include <algorithm>
#include <utility>

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <accelerators/error.h>
#include <strategies/flat/parameter_use.h>

namespace fabric {
namespace {

ShardLayout layout_of(const std::vector<NamedTensor>& parameters, int world) {
  std::vector<std::int64_t> numels;
  for (const NamedTensor& named : parameters) {
    numels.push_back(named.tensor.numel());
  }
  return make_shard_layout(numels, parameters.front().tensor.element_size(), world);
}

}  // namespace

void copy_into_shard(const at::Tensor& shard, const ShardLayout& layout, int rank,
                     std::size_t index, const at::Tensor& values, at::IntArrayRef strides) {
  const ShardLayout::Range range = layout.parameter_in_shard(rank, index);
  if (range.size > 0) {
    const at::Tensor ordered = at::empty_strided(values.sizes(), strides, shard.options());
    ordered.copy_(values);
    // A member that begins in an earlier shard continues in this one.
    const std::int64_t skipped = rank * layout.shard + range.begin - layout.offsets[index];
    shard.narrow(0, range.begin, range.size)
        .copy_(at::as_strided(ordered, {range.size}, {1}, skipped));
  }
}

FlatUnit::FlatUnit(std::string name, std::vector<NamedTensor> parameters,
                   const Communicator& communicator)
    : name_(std::move(name)),
      members_(std::move(parameters)),
      layout_(layout_of(members_, communicator.size())),
      rank_(communicator.rank()),
      whole_(
          layout_.total, members_.front().tensor.scalar_type(), members_.front().tensor.device(),
          detail::str("[fabric.fsdp] raw access to a sharded parameter of unit '", name_,
                      "', whose values are not on this rank. Hint: read it through an operator, ",
                      "which gathers it (w.clone(), on all ranks).")) {
  const at::NoGradGuard no_grad;
  const c10::InferenceMode ordinary(false);
  whole_.allocate();
  whole_.flat().zero_();
  for (std::size_t i = 0; i < members_.size(); ++i) {
    const at::Tensor& parameter = members_[i].tensor;
    whole_.part(layout_.offsets[i], parameter).copy_(parameter);
    whole_.adopt(parameter, layout_.offsets[i]);
  }
  communicator.broadcast(whole_.flat(), 0).wait();
  shard_ = whole_.flat().narrow(0, rank_ * layout_.shard, layout_.shard).clone();
  whole_.release();
  cut_segments(std::vector<int>(members_.size(), 0));
}

void FlatUnit::start_unshard(const Communicator& communicator) {
  if (!whole_.allocated()) {
    whole_.allocate();
    gather_ = communicator.all_gather(whole_.flat(), shard_);
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
  const ShardLayout::Range range = layout_.in_shard(rank_, begin, end);
  if (range.size > 0) {
    const at::NoGradGuard no_grad;
    const c10::InferenceMode ordinary(false);
    shard_.narrow(0, range.begin, range.size)
        .copy_(whole_.flat().narrow(0, rank_ * layout_.shard + range.begin, range.size));
  }
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
        parameter.scalar_type() == whole_.flat().scalar_type() &&
            parameter.device() == whole_.flat().device() && parameter.numel() == layout_.numels[i],
        "[fabric.fsdp] parameter '", name, "' of ", model, " was replaced after setup; ", "got ",
        parameter.scalar_type(), " ", parameter.sizes(), " on ", parameter.device(), "; expected ",
        whole_.flat().scalar_type(), " with ", layout_.numels[i], " elements on ",
        whole_.flat().device(), ". Hint: convert or move the model before fabric.setup.");
    const at::NoGradGuard no_grad;
    const c10::InferenceMode ordinary(false);
    const c10::impl::ExcludeDispatchKeyGuard below(kParameterKey);
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
