#include <ATen/ATen.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <fabric/detail/side_stream.h>

namespace fabric::detail {

std::pair<std::vector<at::Tensor>, c10::Event> SideStream::copy(
    const std::vector<at::Tensor>& sources) {
  const c10::impl::VirtualGuardImpl devices(device_.type());
  if (!stream_) {
    stream_ = devices.getStreamFromGlobalPool(device_);
  }
  // The allocator may hand out memory that queued work of the current stream still reads. So the
  // copies wait for that work; not for what is queued from now on, which is what they overlap with.
  std::vector<at::Tensor> copies;
  for (const at::Tensor& source : sources) {
    copies.push_back(at::empty_like(source, source.options().device(device_)));
  }
  c10::Event queued(device_.type());
  queued.record(devices.getStream(device_));
  queued.block(*stream_);
  c10::Event done(device_.type());
  try {
    const c10::StreamGuard beside(*stream_);
    for (std::size_t i = 0; i < sources.size(); ++i) {
      // LibTorch keeps the memory of pinned sources from being used anew before the copy is done.
      copies[i].copy_(sources[i], /*non_blocking=*/true);
    }
    done.record(*stream_);
  } catch (...) {
    done.record(*stream_);
    arrive(done);  // the copies begun go back to the allocator
    throw;
  }
  return {std::move(copies), std::move(done)};
}

void SideStream::arrive(const c10::Event& event) const {
  event.block(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
}

}  // namespace fabric::detail
