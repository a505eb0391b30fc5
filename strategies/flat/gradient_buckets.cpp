#include <strategies/flat/gradient_buckets.h>

#include <algorithm>
#include <map>

#include <ATen/ATen.h>

#include <accelerators/ordinary_scope.h>

namespace fabric {
namespace {

constexpr std::int64_t kAlignment = 64;  // bytes
constexpr std::int64_t kFirstBucketBytes = 1 << 20;

std::int64_t aligned(std::int64_t elements, std::int64_t element_size) {
  const std::int64_t step = std::max<std::int64_t>(1, kAlignment / element_size);
  return (elements + step - 1) / step * step;
}

// An alias of the storage and no autograd view: LibTorch's zero_grad calls detach_() on gradients,
// which throws for views.
at::Tensor alias(const at::Tensor& storage, std::int64_t offset, const at::Tensor& like) {
  at::Tensor slice = at::empty({0}, storage.options());
  if (like.is_non_overlapping_and_dense()) {
    slice.set_(storage.storage(), offset, like.sizes(), like.strides());
  } else {
    slice.set_(storage.storage(), offset, like.sizes());
  }
  return slice;
}

void allocate(GradientBucket& bucket, const std::vector<at::Tensor>& parameters) {
  const at::Tensor& first = parameters[bucket.members.front()];
  std::vector<std::int64_t> offsets;
  std::int64_t size = 0;
  for (const std::size_t member : bucket.members) {
    offsets.push_back(size);
    size += aligned(parameters[member].numel(), first.element_size());
  }
  const auto flags = static_cast<std::int64_t>(bucket.members.size()) + 1;
  bucket.storage = at::zeros({size + flags}, first.options().requires_grad(false));
  bucket.flags = bucket.storage.narrow(0, size, flags);
  for (std::size_t i = 0; i < bucket.members.size(); ++i) {
    bucket.slices.push_back(alias(bucket.storage, offsets[i], parameters[bucket.members[i]]));
  }
  bucket.pending = bucket.members.size();
}

}  // namespace

std::vector<GradientBucket> make_gradient_buckets(const std::vector<at::Tensor>& parameters,
                                                  const std::vector<std::size_t>& order,
                                                  std::int64_t bucket_bytes) {
  // The user may be inside an inference mode; gradients must be ordinary tensors.
  const OrdinaryScope ordinary;
  struct Open {
    std::size_t bucket;
    std::int64_t bytes;
  };
  std::vector<GradientBucket> buckets;
  std::map<at::ScalarType, Open> open;
  for (const std::size_t index : order) {
    const at::Tensor& parameter = parameters[index];
    const auto bytes = static_cast<std::int64_t>(parameter.nbytes());
    auto found = open.find(parameter.scalar_type());
    const std::int64_t limit = found != open.end() && found->second.bucket == 0
                                   ? std::min(kFirstBucketBytes, bucket_bytes)
                                   : bucket_bytes;
    if (found == open.end() || found->second.bytes + bytes > limit) {
      buckets.emplace_back();
      found = open.insert_or_assign(parameter.scalar_type(), Open{buckets.size() - 1, 0}).first;
    }
    found->second.bytes += bytes;
    buckets[found->second.bucket].members.push_back(index);
  }
  for (GradientBucket& bucket : buckets) {
    allocate(bucket, parameters);
  }
  return buckets;
}

}  // namespace fabric
