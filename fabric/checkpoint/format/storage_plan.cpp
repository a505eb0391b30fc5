#include <fabric/checkpoint/format/storage_plan.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <tuple>

#include <ATen/ATen.h>

#include <accelerators/error.h>
#include <accelerators/ordinary_scope.h>

namespace fabric::detail {
namespace {

// The elements of a tensor row by row, made when they are written and let go afterwards.
class PackedBytes final : public TensorBytes {
 public:
  explicit PackedBytes(StoredTensor source) : maker_(std::move(source)) {}

  std::int64_t size() const override { return maker_.source.nbytes(); }
  void read(std::int64_t begin, std::int64_t count, void* to) const override {
    std::memcpy(to, static_cast<const char*>(data()) + begin, static_cast<std::size_t>(count));
  }
  const void* data() const override {
    return maker_.packed.defined() ? maker_.packed.const_data_ptr() : nullptr;
  }
  GatherGroup* group() const override { return &maker_; }

 private:
  struct Maker final : GatherGroup {
    explicit Maker(StoredTensor given) : source(std::move(given)) {}
    void gather() override {
      const OrdinaryScope ordinary;
      packed = source.clone().contiguous();
    }
    void release() override { packed.reset(); }

    StoredTensor source;
    at::Tensor packed;
  };
  mutable Maker maker_;
};

std::int64_t item_size(const StoredTensor& tensor) {
  return static_cast<std::int64_t>(c10::elementSize(tensor.dtype()));
}

// The bytes from a tensor's first element to its last.
struct Extent {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t size() const { return end - begin; }
};

Extent extent_of(const StoredTensor& tensor) {
  const Extent extent{tensor.offset() * item_size(tensor),
                      (tensor.offset() + tensor.span()) * item_size(tensor)};
  FABRIC_CHECK(Checkpoint, extent.end <= tensor.bytes()->size(),
               "[fabric.save] a tensor of shape ", tensor.sizes(), " has no values in memory; got ",
               tensor.bytes()->size(), " bytes; expected ", extent.end,
               ". Hint: its storage was freed or resized, as that of a sharded parameter is.");
  return extent;
}

bool same_view(const StoredTensor& a, const StoredTensor& b) {
  return a.offset() == b.offset() && a.sizes() == b.sizes() && a.strides() == b.strides();
}

// One tensor alone: the bytes from its first element to its last, or its elements packed.
StoredPlace place_alone(const StoredTensor& tensor, Extent extent, bool as_they_lie,
                        StoragePlan& plan) {
  const std::size_t storage = plan.storages.size();
  if (as_they_lie) {
    plan.storages.push_back({tensor.bytes(), extent.begin, extent.size(), 0});
    return {storage, 0, tensor.strides().vec()};
  }
  plan.storages.push_back({std::make_shared<PackedBytes>(tensor), 0, tensor.nbytes(), 0});
  return {storage, 0, row_major_strides(tensor.sizes())};
}

// Tensors whose extents overlap, one with the next.
struct Sharers {
  std::size_t first = 0;  // of them, in the order of all tensors
  Extent extent{};
  bool one_view = true;  // all are the same elements in the same shape
  StoredPlace place{};   // of that, or of the storage
};

// Groups the tensors that have elements. @returns the group of each
std::vector<std::size_t> find_sharers(const std::vector<StoredTensor>& tensors,
                                      const std::vector<Extent>& extents,
                                      std::vector<Sharers>& groups) {
  std::map<std::tuple<const void*, at::ScalarType>, std::vector<std::size_t>> neighbours;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].numel() > 0) {
      neighbours[{tensors[i].bytes()->identity(), tensors[i].dtype()}].push_back(i);
    }
  }
  std::vector<std::size_t> group_of(tensors.size());
  for (auto& [allocation, members] : neighbours) {
    std::stable_sort(members.begin(), members.end(), [&](std::size_t a, std::size_t b) {
      return extents[a].begin < extents[b].begin;
    });
    const std::size_t before = groups.size();
    for (const std::size_t member : members) {
      if (groups.size() == before || extents[member].begin >= groups.back().extent.end) {
        groups.push_back({member, extents[member]});
      }
      Sharers& group = groups.back();
      group.one_view = group.one_view && same_view(tensors[group.first], tensors[member]);
      group.first = std::min(group.first, member);
      group.extent.end = std::max(group.extent.end, extents[member].end);
      group_of[member] = groups.size() - 1;
    }
  }
  return group_of;
}

}  // namespace

std::vector<std::int64_t> row_major_strides(at::IntArrayRef sizes) {
  std::vector<std::int64_t> strides(sizes.size());
  std::int64_t stride = 1;
  for (std::size_t i = sizes.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= std::max<std::int64_t>(sizes[i], 1);
  }
  return strides;
}

bool is_row_major(const StoredTensor& tensor) {
  const std::vector<std::int64_t> expected = row_major_strides(tensor.sizes());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (tensor.sizes()[i] != 1 && tensor.strides()[i] != expected[i]) {
      return false;
    }
  }
  return true;
}

StoragePlan plan_shared_storages(const std::vector<StoredTensor>& tensors) {
  std::vector<Extent> extents(tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    extents[i] = tensors[i].numel() > 0 ? extent_of(tensors[i]) : Extent();
  }
  std::vector<Sharers> groups;
  const std::vector<std::size_t> group_of = find_sharers(tensors, extents, groups);
  StoragePlan plan;
  // In the order of the tensors, so that a file does not depend on addresses.
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const StoredTensor& tensor = tensors[i];
    if (tensor.numel() == 0) {
      plan.places.push_back(place_alone(tensor, {}, true, plan));
      continue;
    }
    Sharers& group = groups[group_of[i]];
    if (group.first == i && group.one_view) {
      // Elements that repeat (an expanded tensor) take no room, gaps would.
      group.place = place_alone(tensor, group.extent, group.extent.size() <= tensor.nbytes(), plan);
    } else if (group.first == i) {
      group.place.storage = plan.storages.size();
      plan.storages.push_back({tensor.bytes(), group.extent.begin, group.extent.size(), 0});
    }
    plan.places.push_back(group.one_view
                              ? group.place
                              : StoredPlace{group.place.storage,
                                            (extents[i].begin - group.extent.begin) / item_size(tensor),
                                            tensor.strides().vec()});
  }
  return plan;
}

StoragePlan plan_row_major(const std::vector<StoredTensor>& tensors) {
  StoragePlan plan;
  using Elements = std::tuple<const void*, at::ScalarType, std::int64_t, std::vector<std::int64_t>,
                              std::vector<std::int64_t>>;
  std::map<Elements, std::size_t> known;
  for (const StoredTensor& tensor : tensors) {
    if (tensor.numel() > 0) {
      const auto [same, fresh] =
          known.try_emplace({tensor.bytes()->identity(), tensor.dtype(), tensor.offset(),
                             tensor.sizes().vec(), tensor.strides().vec()},
                            plan.storages.size());
      if (!fresh) {
        plan.places.push_back({same->second, 0, row_major_strides(tensor.sizes())});
        continue;
      }
    }
    const bool empty = tensor.numel() == 0;
    plan.places.push_back(place_alone(tensor, empty ? Extent() : extent_of(tensor),
                                      empty || is_row_major(tensor), plan));
    plan.places.back().strides = row_major_strides(tensor.sizes());
  }
  return plan;
}

}  // namespace fabric::detail
