#include <accelerators/collectives/nccl/nccl.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>

#include <c10/cuda/CUDAFunctions.h>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <accelerators/collectives/mpi/control.h>
#include <accelerators/collectives/world.h>
#include <accelerators/error.h>

namespace fabric::nccl {
namespace {

// What rank 0 tells the others; as plain bytes, since it travels through MPI.
struct Address {
  char host[256] = {};
  std::uint16_t port = 0;
  char error[512] = {};  // why rank 0 has no store; "" if it has one
};

void put(char* to, std::size_t size, const std::string& text) {
  std::strncpy(to, text.c_str(), size - 1);
}

// One store serves the whole job, and lives as long as the process: NCCL's watchdogs read it late.
c10::intrusive_ptr<c10d::Store> make_store() {
  const World& here = world();
  if (here.size == 1) {
    return c10::make_intrusive<c10d::HashStore>();
  }
  Address address;
  c10::intrusive_ptr<c10d::Store> store;
  c10d::TCPStoreOptions options;
  options.port = 0;  // any free one
  options.isServer = here.rank == 0;
  options.waitWorkers = false;
  if (here.rank == 0) {
    try {
      auto server = c10::make_intrusive<c10d::TCPStore>("localhost", options);
      put(address.host, sizeof(address.host), here.num_nodes == 1 ? "localhost" : here.host);
      address.port = server->getPort();
      store = std::move(server);
    } catch (const std::exception& error) {
      put(address.error, sizeof(address.error), error.what());
    }
  }
  mpi::control_broadcast(&address, sizeof(address), 0);
  FABRIC_CHECK(Communication, address.error[0] == '\0',
               "[fabric.communicator] rank 0 could not open the TCP store through which NCCL finds "
               "its peers; got: ",
               address.error);
  if (here.rank != 0) {
    options.port = address.port;
    try {
      store = c10::make_intrusive<c10d::TCPStore>(address.host, options);
    } catch (const std::exception& error) {
      throw CommunicationError(detail::str(
          "[fabric.communicator] cannot reach the TCP store of rank 0; got: ", error.what(),
          "; expected a connection to ", address.host, ":", address.port,
          ". Hint: the nodes must resolve each other's host names and allow TCP between them"));
    }
  }
  return store;
}

const c10::intrusive_ptr<c10d::Store>& job_store() {
  static const auto& store = *new c10::intrusive_ptr<c10d::Store>(make_store());
  return store;
}

}  // namespace

bool compiled() {
  return true;
}

c10::intrusive_ptr<c10d::Backend> make_backend(const std::string& name, c10::Device device,
                                               const std::vector<int>& ranks) {
  FABRIC_CHECK(Device, device.is_cuda(),
               "[fabric.communicator] NCCL communicates CUDA tensors; got device ", device,
               "; expected a CUDA device");
  FABRIC_CHECK(Device, device.index() < c10::cuda::device_count(),
               "[fabric.communicator] no such CUDA device; got ", device, "; expected one of ",
               static_cast<int>(c10::cuda::device_count()), " visible devices");
  // Collective, so the count is the same on every rank: each backend has keys of its own.
  static std::atomic<int> made{0};
  auto store = c10::make_intrusive<c10d::PrefixStore>(
      detail::str(made++, "/", name, "/", ranks.front()), job_store());
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->group_name = name;
  const auto own = std::find(ranks.begin(), ranks.end(), world().rank);
  auto backend = c10::make_intrusive<c10d::ProcessGroupNCCL>(
      store, static_cast<int>(own - ranks.begin()), static_cast<int>(ranks.size()),
      std::move(options));
  if (device.has_index()) {
    backend->setBoundDeviceId(device);
  }
  return backend;
}

}  // namespace fabric::nccl
