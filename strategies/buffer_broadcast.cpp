#include <strategies/buffer_broadcast.h>

#include <map>
#include <utility>

#include <ATen/ATen.h>

#include <accelerators/ordinary_scope.h>

namespace fabric {

BufferBroadcast::BufferBroadcast(std::vector<at::Tensor> buffers) : buffers_(std::move(buffers)) {}

void BufferBroadcast::run(const Communicator& communicator, int source) const {
  if (buffers_.empty()) {
    return;
  }
  const OrdinaryScope ordinary;
  std::map<at::ScalarType, std::vector<at::Tensor>> groups;
  for (const at::Tensor& buffer : buffers_) {
    if (buffer.numel() > 0) {
      groups[buffer.scalar_type()].push_back(buffer);
    }
  }
  for (auto& [dtype, members] : groups) {
    // An alias with a version counter of its own.
    const auto alias = [](const at::Tensor& tensor) { return tensor.variable_data(); };
    if (members.size() == 1 && members.front().is_contiguous()) {
      communicator.broadcast(alias(members.front()), source).wait();
      continue;
    }
    std::vector<at::Tensor> parts;
    for (const at::Tensor& member : members) {
      parts.push_back(alias(member).reshape({-1}));
    }
    const at::Tensor flat = at::cat(parts);
    communicator.broadcast(flat, source).wait();
    if (communicator.rank() == source) {
      continue;
    }
    std::int64_t offset = 0;
    for (const at::Tensor& member : members) {
      alias(member).copy_(flat.narrow(0, offset, member.numel()).view(member.sizes()));
      offset += member.numel();
    }
  }
}

}  // namespace fabric
