// Collectives on values: tensors, numbers, containers and aggregates, by value and shape-checked.
// `Fabric` offers these as methods; the functions here do the work on a pair of communicators.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <accelerators/collectives/communicator.h>
#include <accelerators/error.h>
#include <fabric/detail/packing.h>
#include <fabric/structure.h>

namespace fabric::detail {

/// A number, bool included.
template <class T>
concept Number = std::is_arithmetic_v<T>;

/// The communicators of a Fabric: `user` carries data (MPI or NCCL by device), `control` carries
/// what ranks agree on (always MPI).
struct Communicators {
  Communicator user;
  Communicator control;
};

at::Tensor all_gather_tensor(const Communicators& group, const at::Tensor& data, bool sync_grads);
at::Tensor all_gather_rows(const Communicators& group, const at::Tensor& data, bool sync_grads);
at::Tensor all_reduce_tensor(const Communicators& group, const at::Tensor& data, ReduceOp op);
at::Tensor broadcast_tensor(const Communicators& group, const at::Tensor& data, int source);
/// Sends `bytes` of rank `source` to all.
std::vector<char> broadcast_bytes(const Communicators& group, std::vector<char> bytes, int source);
at::Tensor number_tensor(double value);
at::Tensor number_tensor(std::int64_t value);

/// The leaves that cannot hold the values of several ranks are refused at compile time.
template <class T>
  requires(!Number<T>)
T all_gather(const Communicators& group, const T& data, bool sync_grads) {
  T result = data;
  visit_leaves(result, [&](auto& leaf) {
    using Leaf = std::remove_reference_t<decltype(leaf)>;
    if constexpr (std::is_base_of_v<at::Tensor, Leaf>) {
      leaf = all_gather_tensor(group, leaf, sync_grads);
    } else {
      static_assert(!Number<Leaf>,
                    "fabric.all_gather: a number inside a container or struct cannot hold the "
                    "values of all ranks. Make it a tensor, or gather it on its own: "
                    "fabric.all_gather(number) returns a tensor of world_size elements.");
    }
  });
  return result;
}

template <Number T>
at::Tensor all_gather(const Communicators& group, T value, bool /*sync_grads*/) {
  if constexpr (std::is_same_v<T, bool>) {
    return all_gather_tensor(group, number_tensor(std::int64_t{value}).to(at::kBool), false);
  } else if constexpr (std::is_floating_point_v<T>) {
    return all_gather_tensor(group, number_tensor(static_cast<double>(value)), false);
  } else {
    return all_gather_tensor(group, number_tensor(static_cast<std::int64_t>(value)), false);
  }
}

/// One number over ranks. Means of integers are double; sums of bools count.
template <Number T>
auto all_reduce_number(const Communicators& group, T value, ReduceOp op) {
  if constexpr (std::is_floating_point_v<T>) {
    return static_cast<T>(all_reduce_tensor(group, number_tensor(static_cast<double>(value)), op)
                              .template item<double>());
  } else {
    return all_reduce_tensor(group, number_tensor(static_cast<std::int64_t>(value)), op)
        .template item<std::int64_t>();
  }
}

/// Every tensor and number in `data` over ranks; the result has the same type.
template <class T>
T all_reduce(const Communicators& group, const T& data, ReduceOp op) {
  T result = data;
  visit_leaves(result, [&](auto& leaf) {
    using Leaf = std::remove_reference_t<decltype(leaf)>;
    if constexpr (std::is_base_of_v<at::Tensor, Leaf>) {
      leaf = all_reduce_tensor(group, leaf, op);
    } else if constexpr (Number<Leaf>) {
      FABRIC_CHECK(Misconfiguration, std::is_floating_point_v<Leaf> || op != ReduceOp::mean,
                   "[fabric.all_reduce] the mean of an integer inside a struct or container does ",
                   "not fit into it. Hint: make the field a double, or use fabric.sum.");
      leaf = static_cast<Leaf>(all_reduce_number(group, leaf, op));
    }
  });
  return result;
}

template <class T>
T broadcast(const Communicators& group, T value, int source) {
  if constexpr (std::is_same_v<T, at::Tensor>) {
    return broadcast_tensor(group, value, source);
  } else {
    if (group.user.alone()) {
      return value;
    }
    std::vector<char> bytes;
    if (group.user.rank() == source) {
      bytes = pack(value);
    }
    bytes = broadcast_bytes(group, std::move(bytes), source);
    if (group.user.rank() != source) {
      unpack(bytes, value);
    }
    return value;
  }
}

}  // namespace fabric::detail
