#include <fabric/checkpoint/format/storage_plan.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <tuple>

#include <ATen/ATen.h>

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
};

Extent extent_of(const StoredTensor& tensor) {
  return {tensor.offset() * item_size(tensor),
          (tensor.offset() + tensor.span()) * item_size(tensor)};
}

// One tensor alone: its own elements, packed where they are not one run.
StoredPlace place_alone(const StoredTensor& tensor, bool as_they_lie, StoragePlan& plan) {
  const std::size_t storage = plan.storages.size();
  if (as_they_lie) {
    plan.storages.push_back(
        {tensor.bytes(), tensor.offset() * item_size(tensor), tensor.nbytes(), 0});
    return {storage, 0, tensor.strides().vec()};
  }
  plan.storages.push_back({std::make_shared<PackedBytes>(tensor), 0, tensor.nbytes(), 0});
  return {storage, 0, row_major_strides(tensor.sizes())};
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
  StoragePlan plan;
  plan.places.resize(tensors.size());
  // Tensors over one allocation, by where they begin.
  std::map<std::tuple<const void*, at::ScalarType>, std::vector<std::size_t>> neighbours;
  std::vector<Extent> extents(tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].numel() > 0) {
      extents[i] = extent_of(tensors[i]);
      neighbours[{tensors[i].bytes()->identity(), tensors[i].dtype()}].push_back(i);
    }
  }
  std::vector<std::size_t> first_of(tensors.size());  // of the tensors that share with it
  std::vector<std::int64_t> ends(tensors.size());     // of all that share, by the first of them
  std::vector<std::int64_t> begins(tensors.size());
  std::vector<std::size_t> sharers(tensors.size());
  for (auto& [allocation, members] : neighbours) {
    std::stable_sort(members.begin(), members.end(), [&](std::size_t a, std::size_t b) {
      return extents[a].begin < extents[b].begin;
    });
    std::vector<std::size_t> group;
    std::int64_t end = 0;
    const auto close = [&] {
      if (group.empty()) {
        return;
      }
      const std::size_t first = *std::min_element(group.begin(), group.end());
      begins[first] = extents[group.front()].begin;
      ends[first] = end;
      sharers[first] = group.size();
      for (const std::size_t member : group) {
        first_of[member] = first;
      }
      group.clear();
    };
    for (const std::size_t member : members) {
      if (!group.empty() && extents[member].begin >= end) {
        close();
      }
      end = group.empty() ? extents[member].end : std::max(end, extents[member].end);
      group.push_back(member);
    }
    close();
  }
  // In the order of the tensors, so that a file does not depend on addresses.
  std::vector<std::size_t> storage_of(tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const StoredTensor& tensor = tensors[i];
    if (tensor.numel() == 0) {
      plan.places[i] = place_alone(tensor, true, plan);
      plan.storages.back().begin = 0;
    } else if (first_of[i] != i) {
      const std::size_t first = first_of[i];
      plan.places[i] = {storage_of[first], (extents[i].begin - begins[first]) / item_size(tensor),
                        tensor.strides().vec()};
    } else if (sharers[i] == 1) {
      plan.places[i] = place_alone(tensor, tensor.is_dense(), plan);
      storage_of[i] = plan.places[i].storage;
    } else {
      storage_of[i] = plan.storages.size();
      plan.storages.push_back({tensor.bytes(), begins[i], ends[i] - begins[i], 0});
      plan.places[i] = {storage_of[i], (extents[i].begin - begins[i]) / item_size(tensor),
                        tensor.strides().vec()};
    }
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
    plan.places.push_back(
        place_alone(tensor, tensor.numel() == 0 || is_row_major(tensor), plan));
    plan.places.back().strides = row_major_strides(tensor.sizes());
    if (tensor.numel() == 0) {
      plan.storages.back().begin = 0;
    }
  }
  return plan;
}

}  // namespace fabric::detail
