#include <fabric/detail/packing.h>

#include <ATen/ATen.h>

namespace fabric::detail {

void Packer::tensor(const at::Tensor& value) {
  size(value.defined());
  if (!value.defined()) {
    return;
  }
  const at::Tensor host = value.detach().to(at::kCPU).contiguous();
  size(static_cast<std::uint64_t>(host.scalar_type()));
  size(host.sizes().size());
  for (const std::int64_t extent : host.sizes()) {
    size(static_cast<std::uint64_t>(extent));
  }
  raw(host.const_data_ptr(), host.nbytes());
}

at::Tensor Unpacker::tensor() {
  if (size() == 0) {
    return {};
  }
  const auto dtype = static_cast<at::ScalarType>(size());
  std::vector<std::int64_t> sizes(size());
  for (std::int64_t& extent : sizes) {
    extent = static_cast<std::int64_t>(size());
  }
  at::Tensor value = at::empty(sizes, dtype);
  raw(value.mutable_data_ptr(), value.nbytes());
  return value;
}

}  // namespace fabric::detail
