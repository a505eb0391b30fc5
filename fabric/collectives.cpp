#include <fabric/collectives.h>

#include <algorithm>
#include <array>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <strategies/backward_collective.h>

namespace fabric::detail {
namespace {

constexpr int kMaxDimensions = 12;
using Shape = std::array<std::int64_t, kMaxDimensions + 2>;  // dtype, dimensions, sizes…

Shape shape_of(const at::Tensor& tensor) {
  FABRIC_CHECK(Misconfiguration, tensor.defined(), "[fabric.all_gather] the tensor is undefined; ",
               "expected a tensor, of the same shape and dtype on every rank");
  FABRIC_CHECK(Misconfiguration, tensor.dim() <= kMaxDimensions,
               "[fabric.all_gather] got a tensor ", "of ", tensor.dim(),
               " dimensions; expected at most ", kMaxDimensions);
  Shape shape{};
  shape[0] = static_cast<std::int64_t>(tensor.scalar_type());
  shape[1] = tensor.dim();
  std::copy(tensor.sizes().begin(), tensor.sizes().end(), shape.begin() + 2);
  return shape;
}

std::string describe(const Shape& shape) {
  std::ostringstream text;
  text << static_cast<at::ScalarType>(shape[0]) << " ["
       << at::IntArrayRef(shape.data() + 2, shape[1]) << "]";
  std::string result = text.str();
  std::erase(result, '[');
  std::erase(result, ']');
  return result;
}

/// Everyone's shape, in rank order. A few hundred bytes on the control communicator: far cheaper
/// than the hang that unequal shapes would be.
std::vector<Shape> exchange_shapes(const Communicators& group, const Shape& own) {
  const at::Tensor input = at::tensor(at::IntArrayRef(own.data(), own.size()), at::kLong);
  at::Tensor output = at::empty({group.control.size(), input.numel()}, at::kLong);
  group.control.all_gather(output, input).wait();
  std::vector<Shape> shapes(group.control.size());
  for (std::size_t rank = 0; rank < shapes.size(); ++rank) {
    const auto* row = output.const_data_ptr<std::int64_t>() + rank * own.size();
    std::copy(row, row + own.size(), shapes[rank].begin());
  }
  return shapes;
}

void check_equal(const std::vector<Shape>& shapes, const Shape& own, std::size_t skip,
                 const char* call, const char* hint) {
  for (std::size_t rank = 0; rank < shapes.size(); ++rank) {
    for (std::size_t i = 0; i < own.size(); ++i) {
      FABRIC_CHECK(Communication, i == skip || shapes[rank][i] == own[i], "[fabric.", call,
                   "] ranks disagree on the shape or dtype; got ", describe(own), " here and ",
                   describe(shapes[rank]), " on rank ", rank, ". Hint: ", hint);
    }
  }
}

// Gathers with the shapes known to be equal.
at::Tensor gather_equal(const Communicator& user, const at::Tensor& data) {
  std::vector<std::int64_t> sizes = data.sizes().vec();
  sizes.insert(sizes.begin(), user.size());
  at::Tensor output = at::empty(sizes, data.options().requires_grad(false));
  user.all_gather(output, data.detach().contiguous()).wait();
  return output;
}

/// Gather whose backward gives each rank the sum of all ranks' gradients for its part.
class GatherWithGradient : public torch::autograd::Function<GatherWithGradient> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& data,
                            const Communicator* user) {
    context->saved_data["group"] = BackwardCollective::keep(*user);
    return gather_equal(*user, data);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const Communicator& user = BackwardCollective::of(context->saved_data["group"]);
    const at::Tensor all = gradients[0].contiguous();
    at::Tensor own = at::empty(all.sizes().slice(1), all.options());
    user.reduce_scatter(own, all, ReduceOp::sum).wait();
    return {own, at::Tensor()};
  }
};

at::Tensor gather(const Communicators& group, const at::Tensor& data, bool sync_grads) {
  if (group.user.alone()) {
    return sync_grads ? data.unsqueeze(0) : data.detach().unsqueeze(0);
  }
  if (sync_grads && data.requires_grad()) {
    return GatherWithGradient::apply(data, &group.user);
  }
  return gather_equal(group.user, data);
}

}  // namespace

at::Tensor number_tensor(double value) {
  return at::scalar_tensor(value, at::kDouble);
}
at::Tensor number_tensor(std::int64_t value) {
  return at::scalar_tensor(value, at::kLong);
}

at::Tensor all_gather_tensor(const Communicators& group, const at::Tensor& data, bool sync_grads) {
  const Shape own = shape_of(data);
  if (!group.user.alone()) {
    check_equal(exchange_shapes(group, own), own, own.size(), "all_gather",
                "fabric.all_gather_cat gathers tensors of unequal first dimension.");
  }
  return gather(group, data, sync_grads);
}

at::Tensor all_gather_rows(const Communicators& group, const at::Tensor& data, bool sync_grads) {
  const Shape own = shape_of(data);
  FABRIC_CHECK(Misconfiguration, data.dim() > 0, "[fabric.all_gather_cat] got a tensor without ",
               "dimensions; expected at least one, along which ranks are concatenated. Hint: ",
               "fabric.all_gather stacks scalars.");
  if (group.user.alone()) {
    return sync_grads ? data : data.detach();
  }
  constexpr std::size_t kRows = 2;
  const std::vector<Shape> shapes = exchange_shapes(group, own);
  check_equal(shapes, own, kRows, "all_gather_cat", "all dimensions but the first must be equal.");
  std::int64_t most = 0;
  for (const Shape& shape : shapes) {
    most = std::max(most, shape[kRows]);
  }
  at::Tensor padded = data;
  if (data.size(0) < most) {
    std::vector<std::int64_t> missing = data.sizes().vec();
    missing[0] = most - data.size(0);
    padded = at::cat({data, at::zeros(missing, data.options().requires_grad(false))});
  }
  const at::Tensor stacked = gather(group, padded, sync_grads);
  std::vector<at::Tensor> parts;
  for (std::size_t rank = 0; rank < shapes.size(); ++rank) {
    parts.push_back(stacked[static_cast<std::int64_t>(rank)].narrow(0, 0, shapes[rank][kRows]));
  }
  return at::cat(parts);
}

at::Tensor all_reduce_tensor(const Communicators& group, const at::Tensor& data, ReduceOp op) {
  const Shape own = shape_of(data);
  const bool integral = c10::isIntegralType(data.scalar_type(), /*includeBool=*/true);
  at::Tensor result = data.detach();
  if (op == ReduceOp::mean && integral) {
    result = result.to(at::kDouble);
  } else if (op == ReduceOp::sum && data.scalar_type() == at::kBool) {
    result = result.to(at::kLong);
  }
  if (group.user.alone()) {
    return result.is_alias_of(data) ? result.clone() : result;
  }
  check_equal(exchange_shapes(group, own), own, own.size(), "all_reduce",
              "fabric.all_gather_cat gathers tensors of unequal first dimension.");
  result = result.clone(at::MemoryFormat::Contiguous);
  group.user.all_reduce(result, op).wait();
  return result;
}

at::Tensor broadcast_tensor(const Communicators& group, const at::Tensor& data, int source) {
  // Receivers need not know the shape.
  struct Header {
    Shape shape{};
    std::int64_t device_type = 0;
  } header;
  if (group.user.rank() == source) {
    header = {shape_of(data), static_cast<std::int64_t>(data.device().type())};
  }
  const at::Tensor message =
      at::from_blob(&header, {static_cast<std::int64_t>(sizeof(header))}, at::kByte);
  group.control.broadcast(message, source).wait();
  at::Tensor result;
  if (group.user.rank() == source) {
    result = data.detach().clone(at::MemoryFormat::Contiguous);
  } else {
    const at::IntArrayRef sizes(header.shape.data() + 2, static_cast<std::size_t>(header.shape[1]));
    result = at::empty(sizes, at::TensorOptions(static_cast<at::ScalarType>(header.shape[0]))
                                  .device(static_cast<c10::DeviceType>(header.device_type)));
  }
  group.user.broadcast(result, source).wait();
  return result;
}

std::vector<char> broadcast_bytes(const Communicators& group, std::vector<char> bytes, int source) {
  at::Tensor size = number_tensor(static_cast<std::int64_t>(bytes.size()));
  group.control.broadcast(size, source).wait();
  bytes.resize(static_cast<std::size_t>(size.item<std::int64_t>()));
  if (!bytes.empty()) {
    at::Tensor data = at::from_blob(bytes.data(), {static_cast<std::int64_t>(bytes.size())},
                                    at::TensorOptions(at::kByte));
    group.control.broadcast(data, source).wait();
  }
  return bytes;
}

}  // namespace fabric::detail
