// Leaves an MPI job in the way its argument names; tests/support/leave_check.cmake looks at the
// end.
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <stdexcept>
#include <string>
#include <thread>

#include <sys/wait.h>
#include <unistd.h>

#include <torch/torch.h>

#include <accelerators/collectives/communicator.h>
#include <accelerators/collectives/mpi/backend.h>
#include <accelerators/collectives/mpi/mpi.h>
#include <fabric/fabric.h>

namespace {

using namespace std::chrono_literals;

struct Job {
  int rank = fabric::mpi::join().rank;
  bool leaver = rank == fabric::world().size - 1;
  fabric::Communicator all = fabric::make_communicator("user", at::kCPU);

  void reduce() const { all.all_reduce(at::ones({100}), "sum").wait(); }
};

void fail() {
  throw std::runtime_error("the weights are missing");
}

int caught(const Job& job, int status) {
  try {
    if (job.leaver) {
      fail();
    }
    job.reduce();
  } catch (const std::runtime_error&) {
    return status;
  }
  return 0;
}

// One rank announces that an exception unwinds it, and then goes on computing.
int announced(const Job& job) {
  if (job.leaver) {
    fabric::mpi::announce_departure("the weights are missing");
    std::this_thread::sleep_for(60s);
  }
  job.reduce();
  return 0;
}

// It announces its departure, but is back before the others give up.
int came_back(const Job& job) {
  if (job.leaver) {
    fabric::mpi::announce_departure("every rank catches this one");
    std::this_thread::sleep_for(1s);
    job.reduce();
    std::this_thread::sleep_for(5s);
    job.reduce();
    return 0;
  }
  job.reduce();
  job.reduce();
  return 0;
}

// The source of a broadcast may be done and gone long before the others come to it: the last rank
// waits for one of those that hand it on, not for the source.
int slow_receiver(const Job& job) {
  if (job.rank == 1 || job.rank == 2) {
    std::this_thread::sleep_for(6s);
  }
  job.all.broadcast(at::ones({8}), 0).wait();
  return 0;
}

int late(const Job& job) {
  job.reduce();
  if (job.leaver) {
    std::this_thread::sleep_for(5s);
  }
  return 0;
}

// A message on the progress thread, never waited for, is delivered before MPI is finalised.
int pending(const Job& job) {
  auto backend = job.all.process_group()->getBackend(at::kCPU);
  auto& ours = static_cast<fabric::mpi::Backend&>(*backend);
  ours.set_progress(fabric::mpi::Progress::thread);
  (void)job.all.all_reduce(at::ones({3 << 20}), "sum");
  std::exit(0);
}

int stuck_on_thread(const Job& job) {
  if (job.leaver) {
    return 0;
  }
  auto backend = job.all.process_group()->getBackend(at::kCPU);
  static_cast<fabric::mpi::Backend&>(*backend).set_progress(fabric::mpi::Progress::thread);
  job.reduce();
  return 0;
}

// As if a kernel of NCCL waited for the rank that left.
int stuck_on_device(const Job& job) {
  if (!job.leaver) {
    fabric::mpi::count_device_collective(*job.all.process_group()->getBackend(at::kCPU));
    std::this_thread::sleep_for(60s);
  }
  return 0;
}

int killed(const Job& job) {
  if (job.leaver) {
    std::this_thread::sleep_for(1s);
    raise(SIGKILL);
  }
  return 0;
}

int forked(const Job& job) {
  const pid_t child = fork();
  if (child == 0) {
    std::exit(3);  // the exit handlers of the parent must not take the job down
  }
  int status = 0;
  waitpid(child, &status, 0);
  job.reduce();
  return WEXITSTATUS(status) == 3 ? 0 : 1;
}

// An exception leaves the scope of a Fabric object and is caught; the program goes on without it.
int unwound() {
  try {
    fabric::Fabric fabric;
    fabric.launch();
    if (fabric.global_rank() == fabric.world_size() - 1) {
      fail();
    }
    fabric.sum(1);
  } catch (const std::runtime_error&) {
    std::this_thread::sleep_for(60s);
  }
  return 0;
}

// Only the last rank differentiates through the model; the others go on. Or all of them are slow.
int one_sided(bool hang) {
  fabric::Fabric fabric({.strategy = "ddp"});
  fabric.launch();
  torch::nn::Linear net(2, 2);
  auto model = fabric.setup(net);
  if (hang && fabric.global_rank() == fabric.world_size() - 1) {
    net->forward(torch::ones({1, 2})).sum().backward();
  }
  if (!hang) {
    fabric.rank_zero_first([&] { std::this_thread::sleep_for(fabric.is_global_zero() ? 7s : 0s); });
  }
  fabric.barrier();
  return 0;
}

// Only the last rank reads a sharded parameter.
int one_reads() {
  fabric::Fabric fabric({.strategy = "fsdp"});
  fabric.launch();
  torch::nn::Linear net(2, 2);
  auto model = fabric.setup(net);
  if (fabric.global_rank() == fabric.world_size() - 1) {
    net->weight.norm().item<float>();
  }
  fabric.barrier();
  return 0;
}

// One rank fails in the middle of a forward whose units the others gather.
int fails_in_forward() {
  fabric::Fabric fabric({.strategy = fabric::FSDPOptions{.units = {"Linear"}}});
  fabric.launch();
  torch::nn::Sequential net(torch::nn::Linear(2, 2), torch::nn::Linear(2, 2));
  auto model = fabric.setup(net);
  const bool last = fabric.global_rank() == fabric.world_size() - 1;
  auto loss = model->forward(torch::ones({1, last ? 3 : 2})).sum();
  fabric.backward(loss);
  return 0;
}

int run(const std::string& how) {
  if (how == "one_reads") return one_reads();
  if (how == "fails_in_forward") return fails_in_forward();
  if (how == "one_sided") return one_sided(/*hang=*/true);
  if (how == "patient") return one_sided(/*hang=*/false);
  if (how == "unwound") return unwound();
  const Job job;
  if (how == "late") return late(job);
  if (how == "came_back") return came_back(job);
  if (how == "slow_receiver") return slow_receiver(job);
  if (how == "pending") return pending(job);
  if (how == "forked") return forked(job);
  if (how == "killed") return killed(job);
  if (how == "caught_return_1") return caught(job, 1);
  if (how == "caught_return_0") return caught(job, 0);
  if (how == "announced") return announced(job);
  if (how == "stuck_on_thread") return stuck_on_thread(job);
  if (how == "stuck_on_device") return stuck_on_device(job);
  if (job.leaver) {
    if (how == "uncaught") fail();
    if (how == "uncaught_torch") TORCH_CHECK(false, "the shapes do not fit");
    if (how == "return_3") return 3;
    if (how == "exit_1") std::exit(1);
    if (how == "terminate") std::terminate();
    if (how == "abort_job") fabric::mpi::abort_job("the disk is full", 5);
    if (how == "early_return") return 0;
    if (how == "announced_return_1") {
      fabric::mpi::announce_departure("the weights are missing");
      return 1;
    }
    std::cerr << "unknown way to leave: " << how << std::endl;
    return 64;
  }
  job.reduce();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string how = argc > 1 ? argv[1] : "";
  if (how == "join") {
    try {
      fabric::mpi::join();
    } catch (const fabric::Error& error) {
      std::cerr << error.what() << std::endl;
      return 2;
    }
    return 0;
  }
  return run(how);
}
