#include <strategies/flat/unit_gradients.h>

#include <algorithm>
#include <utility>

#include <ATen/ATen.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <accelerators/error.h>
#include <accelerators/ordinary_scope.h>
#include <accelerators/plain_copy.h>
#include <strategies/flat/parameter_use.h>
#include <strategies/flat/shard_copy.h>

namespace fabric {

UnitGradients::UnitGradients(FlatUnit& unit, int rank, at::ScalarType dtype)
    : unit_(unit),
      rank_(rank),
      whole_(
          unit.layout().total, dtype, unit.whole().flat().device(),
          detail::str("[fabric.fsdp] raw access to the gradient of a sharded parameter of unit '",
                      unit.name(), "'. Hint: read it through an operator, which gathers it ",
                      "(w.grad().clone(), on all ranks).")),
      local_(unit.members().size(), false),
      present_(unit.members().size(), false),
      expected_(0) {
  const EngineScope scope;
  for (std::size_t i = 0; i < unit.members().size(); ++i) {
    const at::Tensor& parameter = unit.members()[i].tensor;
    slices_.push_back(whole_.part(unit.layout().offsets[i], parameter));
    stand_ins_.push_back(whole_.part(unit.layout().offsets[i], parameter));
    whole_.adopt(stand_ins_.back(), unit.layout().offsets[i]);
    expected_ += parameter.requires_grad() ? 1 : 0;
  }
}

at::Tensor& UnitGradients::grad_of(std::size_t member) const {
  return unit_.members()[member].tensor.mutable_grad();
}

// Or an alias of it: LibTorch's Module::zero_grad leaves a detached one.
bool UnitGradients::is_stand_in(const at::Tensor& grad, std::size_t member) const {
  return grad.defined() &&
         (grad.is_same(stand_ins_[member]) ||
          (whole_.holds(grad) && grad.storage_offset() == slices_[member].storage_offset() &&
           grad.sizes() == slices_[member].sizes()));
}

void UnitGradients::make_shard() {
  if (!shard_.defined()) {
    shard_ = at::empty_like(unit_.shard());
  }
}

at::Tensor UnitGradients::segment_slice(const ShardSegment& segment) const {
  return part_of(shard_, segment.range.begin, segment.range.size);
}

// ---- collecting ---------------------------------------------------------------------------------

void UnitGradients::before_accumulation(std::size_t member) {
  at::Tensor& grad = grad_of(member);
  if (is_stand_in(grad, member)) {
    grad.reset();
  }
}

void UnitGradients::take(std::size_t member) {
  at::Tensor& grad = grad_of(member);
  if (!grad.defined() || is_stand_in(grad, member)) {
    return;
  }
  FABRIC_CHECK(Routing, !grad.requires_grad(), "[fabric.fsdp] the gradient of '",
               unit_.members()[member].name, "' is part of a graph (create_graph = true); a ",
               "reduction over ranks would cut it off silently. Hint: take gradients of gradients ",
               "with torch::autograd::grad({…}, …, create_graph = true) and call backward on the ",
               "final loss without create_graph.");
  const EngineScope scope;
  if (reducing_) {
    finish_reduce();
  }
  if (!local_memory_) {
    reshard();
    whole_.allocate();
    local_memory_ = true;
    clear_gaps();
  }
  at::Tensor& slice = slices_[member];
  if (local_[member]) {
    slice.add_(grad);
  } else if (grad.is_sparse()) {
    slice.zero_().add_(grad);  // copy_ into a strided tensor throws for sparse sources
  } else {
    detail::copy_plain(slice, grad);
  }
  grad = stand_ins_[member];
  pending_ += local_[member] ? 0 : 1;
  local_[member] = true;
  ++arrived_;
}

void UnitGradients::drop_local(std::size_t member) {
  if (local_[member]) {
    local_[member] = false;
    if (--pending_ == 0) {
      whole_.hide();
      whole_.release();
      local_memory_ = false;
    }
  }
}

// Alignment gaps take part in the reduction and must not carry garbage.
void UnitGradients::clear_gaps() {
  const ShardLayout& layout = unit_.layout();
  for (std::size_t i = 0; i < layout.offsets.size(); ++i) {
    const std::int64_t end = layout.offsets[i] + layout.numels[i];
    const std::int64_t next = i + 1 < layout.offsets.size() ? layout.offsets[i + 1] : layout.total;
    if (next > end) {
      whole_.flat().narrow(0, end, next - end).zero_();
    }
  }
}

// ---- reducing -----------------------------------------------------------------------------------

void UnitGradients::start_reduce(const Communicator& ranks, const Communicator& replicas) {
  const EngineScope scope;
  if (reducing_) {
    finish_reduce();
  }
  if (!local_memory_) {
    reshard();
    whole_.allocate();
    whole_.flat().zero_();
  } else if (pending_ < slices_.size()) {
    for (std::size_t i = 0; i < slices_.size(); ++i) {
      if (!local_[i]) {
        slices_[i].zero_();
      }
    }
  }
  whole_.hide();
  for (std::size_t i = 0; i < slices_.size(); ++i) {
    if (local_[i]) {
      mark_present(i);
    }
  }
  std::fill(local_.begin(), local_.end(), false);
  pending_ = 0;
  local_memory_ = false;
  first_ =
      std::none_of(unit_.segments().begin(), unit_.segments().end(),
                   [](const ShardSegment& segment) { return segment.parameter.grad().defined(); });
  make_shard();
  if (!first_) {
    for (const ShardSegment& segment : unit_.segments()) {
      if (!segment.parameter.grad().defined()) {
        segment_slice(segment).zero_();  // what an earlier step left there
      }
    }
  }
  const bool as_it_is =
      whole_.flat().dtype() == shard_.dtype() && whole_.flat().device() == shard_.device();
  reduced_ =
      first_ && as_it_is ? shard_ : at::empty({unit_.layout().shard}, whole_.flat().options());
  reduction_ = ranks.reduce_scatter(reduced_, whole_.flat(), ReduceOp::mean);
  replicas_ = replicas;
  reducing_ = true;
}

void UnitGradients::finish_reduce() {
  if (!std::exchange(reducing_, false)) {
    return;
  }
  const EngineScope scope;
  reduction_.wait();
  whole_.release();
  replicas_.all_reduce(reduced_, ReduceOp::mean).wait();
  if (!first_) {
    shard_.add_(reduced_.to(shard_.device()));
  } else if (!reduced_.is_same(shard_)) {
    shard_.copy_(reduced_);
  }
  reduced_.reset();
  distribute();
}

void UnitGradients::mark_present(std::size_t member) {
  present_[member] = true;
  at::Tensor& grad = grad_of(member);
  if (!grad.defined()) {
    grad = stand_ins_[member];
  }
}

void UnitGradients::distribute() {
  for (const ShardSegment& segment : unit_.segments()) {
    const bool any = std::any_of(segment.members.begin(), segment.members.end(),
                                 [&](std::size_t member) { return present_[member]; });
    at::Tensor& grad = segment.parameter.mutable_grad();
    if (!any) {
      grad.reset();
    } else if (!grad.defined()) {
      grad = segment_slice(segment);
    }
  }
}

// ---- reading ------------------------------------------------------------------------------------

void UnitGradients::unshard(const Communicator& ranks) {
  if (whole_.shown()) {
    return;
  }
  const EngineScope scope;
  finish_reduce();
  const bool mean = std::any_of(present_.begin(), present_.end(), [](bool value) { return value; });
  if (!local_memory_) {
    if (mean) {
      whole_.allocate();
      gather_shards(ranks, whole_.flat(), shard_).wait();
      whole_.show();
    }
    return;
  }
  if (mean) {
    // Averaging (mean + own) over ranks gives mean + mean of own: both may stand in one place.
    at::Tensor gathered = at::empty({unit_.layout().total}, whole_.flat().options());
    gather_shards(ranks, gathered, shard_).wait();
    for (std::size_t i = 0; i < slices_.size(); ++i) {
      if (!present_[i]) {
        continue;
      }
      const at::Tensor own = at::as_strided(gathered, slices_[i].sizes(), slices_[i].strides(),
                                            unit_.layout().offsets[i]);
      if (local_[i]) {
        slices_[i].add_(own);
      } else {
        slices_[i].copy_(own);
        local_[i] = true;
        ++pending_;
      }
    }
    std::fill(present_.begin(), present_.end(), false);
    distribute();
  }
  whole_.show();
}

void UnitGradients::reshard() {
  if (!local_memory_ && !reducing_ && whole_.allocated()) {
    whole_.hide();
    whole_.release();
  }
}

void UnitGradients::keep_written(std::int64_t begin, std::int64_t end) {
  if (!local_memory_ && whole_.shown()) {
    const EngineScope scope;
    fabric::keep_written(shard_, unit_.layout(), rank_, whole_.flat(), begin, end);
  }
}

// ---- following the user -------------------------------------------------------------------------

void UnitGradients::reconcile() {
  const EngineScope scope;
  const auto& members = unit_.members();
  for (const ShardSegment& segment : unit_.segments()) {
    at::Tensor& mean = segment.parameter.mutable_grad();
    for (const std::size_t i : segment.members) {
      at::Tensor& grad = grad_of(i);
      const bool ours = is_stand_in(grad, i);
      if (ours) {
        grad = stand_ins_[i];
      }
      if (present_[i] && !mean.defined()) {  // the optimizer's zero_grad
        present_[i] = false;
        if (ours && !local_[i]) {
          grad.reset();
        }
      }
      if (grad.defined() && !ours) {  // the user's own tensor: counts as it is, on this rank
        drop_local(i);
        make_shard();
        if (!mean.defined()) {
          segment_slice(segment).zero_();
        }
        copy_into_shard(shard_, unit_.layout(), rank_, i, grad, slices_[i].strides());
        if (!mean.defined()) {
          mean = segment_slice(segment);
        }
        present_[i] = true;
        members[i].tensor.mutable_grad() = stand_ins_[i];
      } else if (!grad.defined()) {  // the user's zero_grad
        drop_local(i);
        if (present_[i]) {
          present_[i] = false;
          const ShardLayout::Range range = unit_.layout().parameter_in_shard(rank_, i);
          shard_.narrow(0, range.begin, range.size).zero_();
        }
      }
    }
  }
  distribute();
}

void UnitGradients::zero(const ShardSegment& segment, bool to_none) {
  const EngineScope scope;
  for (const std::size_t i : segment.members) {
    if (to_none) {
      drop_local(i);
      present_[i] = false;
      grad_of(i).reset();
    } else if (local_[i]) {
      slices_[i].zero_();
    }
  }
  if (to_none) {
    segment.parameter.mutable_grad().reset();
  }
}

void UnitGradients::abandon() noexcept {
  arrived_ = 0;
  if (local_memory_) {
    for (std::size_t i = 0; i < local_.size(); ++i) {
      if (local_[i]) {
        drop_local(i);
        if (!present_[i]) {
          grad_of(i).reset();
        }
      }
    }
  }
}

}  // namespace fabric
