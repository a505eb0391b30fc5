// Every collective of the CPU backend against a reference that each rank computes alone.
#include <doctest/doctest.h>

#include <chrono>
#include <cstdlib>
#include <future>

#include <torch/torch.h>

#include <accelerators/collectives/communicator.h>
#include <accelerators/collectives/mpi/backend.h>
#include <accelerators/collectives/mpi/mpi.h>

namespace {

using c10d::ReduceOp;
using fabric::mpi::Progress;
using BackendPtr = c10::intrusive_ptr<fabric::mpi::Backend>;

const std::vector<at::ScalarType> kDtypes = {
    at::kFloat, at::kDouble, at::kHalf, at::kBFloat16, at::kByte,   at::kChar,  at::kShort,
    at::kInt,   at::kLong,   at::kBool, at::kUInt16,   at::kUInt32, at::kUInt64};
const std::vector<ReduceOp::RedOpType> kOps = {ReduceOp::SUM, ReduceOp::AVG, ReduceOp::MIN,
                                               ReduceOp::MAX, ReduceOp::PRODUCT};

BackendPtr make(Progress progress, const std::string& name = "test") {
  auto backend = c10::dynamic_intrusive_pointer_cast<fabric::mpi::Backend>(
      fabric::mpi::make_backend(name, fabric::all_ranks()));
  REQUIRE(backend);
  backend->set_progress(progress);
  return backend;
}

// What rank `rank` gives: small whole numbers, so that every dtype reduces them without rounding.
at::Tensor given(int rank, std::int64_t count, at::ScalarType dtype) {
  const auto index = at::arange(count, at::kLong);
  const auto values = (index * 7 + index.div(3, "floor") + rank * 3).remainder(2);
  return (dtype == at::kBool ? values : values + 1).to(dtype);
}

at::Tensor reduced(std::int64_t count, at::ScalarType dtype, ReduceOp::RedOpType op) {
  const int size = fabric::world().size;
  std::vector<at::Tensor> all;
  for (int rank = 0; rank < size; ++rank) {
    all.push_back(given(rank, count, dtype).to(at::kDouble));
  }
  const auto stacked = at::stack(all);
  at::Tensor result;
  switch (op) {
    case ReduceOp::SUM:
      result = stacked.sum(0);
      break;
    case ReduceOp::AVG:
      result = stacked.mean(0);
      break;
    case ReduceOp::MIN:
      result = stacked.amin(0);
      break;
    case ReduceOp::MAX:
      result = stacked.amax(0);
      break;
    default:
      result = stacked.prod(0);
      break;
  }
  return result.to(dtype);
}

bool same(const at::Tensor& a, const at::Tensor& b) {
  if (a.scalar_type() != b.scalar_type() || a.numel() != b.numel()) {
    return false;
  }
  const double tolerance = a.is_floating_point() ? 4e-3 : 0;  // a mean over 3 in bfloat16
  return at::allclose(a.to(at::kDouble).view(-1), b.to(at::kDouble).view(-1), tolerance, 0);
}

// All corners for one dtype; the others have the same code, and ranks that wait cost test time.
std::vector<std::int64_t> counts_for(at::ScalarType dtype) {
  return dtype == at::kFloat ? std::vector<std::int64_t>{0, 1, 7, 1000}
                             : std::vector<std::int64_t>{1000};
}

bool valid(at::ScalarType dtype, ReduceOp::RedOpType op) {
  return op != ReduceOp::AVG || at::isFloatingType(dtype);
}

template <class Body>
void for_each_progress(Body body) {
  for (Progress progress : {Progress::run_inline, Progress::thread}) {
    CAPTURE(static_cast<int>(progress));
    body(make(progress));
  }
}

template <class Body>
void for_each_reduction(Body body) {
  for (at::ScalarType dtype : kDtypes) {
    for (ReduceOp::RedOpType op : kOps) {
      if (valid(dtype, op)) {
        CAPTURE(dtype);
        CAPTURE(static_cast<int>(op));
        body(dtype, op);
      }
    }
  }
}

}  // namespace

TEST_SUITE("mpi.collectives") {
  TEST_CASE("all_reduce reduces every dtype by every operation") {
    for_each_progress([](const BackendPtr& backend) {
      for_each_reduction([&](at::ScalarType dtype, ReduceOp::RedOpType op) {
        for (std::int64_t count : counts_for(dtype)) {
          std::vector<at::Tensor> tensors = {given(fabric::world().rank, count, dtype)};
          c10d::AllreduceOptions options;
          options.reduceOp = op;
          auto work = backend->allreduce(tensors, options);
          CHECK(work->wait());
          CHECK(same(tensors[0], reduced(count, dtype, op)));
          CHECK(work->result()[0].data_ptr() == tensors[0].data_ptr());
        }
      });
    });
  }

  TEST_CASE("reduce_scatter leaves each rank its slice") {
    const auto [rank, size] = std::pair(fabric::world().rank, fabric::world().size);
    for_each_progress([&](const BackendPtr& backend) {
      for_each_reduction([&](at::ScalarType dtype, ReduceOp::RedOpType op) {
        for (std::int64_t count : counts_for(dtype)) {
          c10d::ReduceScatterOptions options;
          options.reduceOp = op;
          const auto expected = reduced(count * size, dtype, op).narrow(0, rank * count, count);
          auto input = given(rank, count * size, dtype);
          const auto before = input.clone();
          auto output = at::empty({count}, dtype);
          backend->_reduce_scatter_base(output, input, options)->wait();
          CHECK(same(output, expected));
          CHECK(same(input, before));

          std::vector<at::Tensor> outputs = {at::empty({count}, dtype)};
          std::vector<std::vector<at::Tensor>> inputs(1);
          for (int i = 0; i < size; ++i) {
            inputs[0].push_back(input.narrow(0, i * count, count).clone());
          }
          backend->reduce_scatter(outputs, inputs, options)->wait();
          CHECK(same(outputs[0], expected));

          auto slice = input.narrow(0, rank * count, count);
          backend->_reduce_scatter_base(slice, input, options)->wait();
          CHECK(same(slice, expected));
          for (int i = 0; i < size; ++i) {
            if (i != rank) {
              CHECK(same(input.narrow(0, i * count, count), before.narrow(0, i * count, count)));
            }
          }
        }
      });
    });
  }

  TEST_CASE("broadcast and all_gather copy every dtype") {
    const auto [rank, size] = std::pair(fabric::world().rank, fabric::world().size);
    auto dtypes = kDtypes;
    dtypes.insert(dtypes.end(), {at::kComplexFloat, at::kFloat8_e4m3fn});
    for_each_progress([&](const BackendPtr& backend) {
      for (at::ScalarType dtype : dtypes) {
        CAPTURE(dtype);
        for (std::int64_t count : counts_for(dtype)) {
          const auto like = [&](int of) { return given(of, count, at::kByte).to(dtype); };
          const auto bytes = [](const at::Tensor& t) { return t.contiguous().view(at::kByte); };
          for (int source = 0; source < size; ++source) {
            std::vector<at::Tensor> tensors = {like(rank)};
            c10d::BroadcastOptions options;
            options.rootRank = source;
            backend->broadcast(tensors, options)->wait();
            CHECK(at::equal(bytes(tensors[0]), bytes(like(source))));
          }
          auto input = like(rank);
          auto output = at::empty({size * count}, input.options());
          backend->_allgather_base(output, input)->wait();
          std::vector<std::vector<at::Tensor>> lists(1);
          std::vector<at::Tensor> inputs = {input};
          for (int i = 0; i < size; ++i) {
            lists[0].push_back(at::empty_like(input));
          }
          backend->allgather(lists, inputs)->wait();
          auto in_place = at::empty({size * count}, input.options());
          auto slice = in_place.narrow(0, rank * count, count);
          slice.copy_(input);
          backend->_allgather_base(in_place, slice)->wait();
          for (int i = 0; i < size; ++i) {
            const auto expected = bytes(like(i));
            CHECK(at::equal(bytes(output.narrow(0, i * count, count)), expected));
            CHECK(at::equal(bytes(in_place.narrow(0, i * count, count)), expected));
            CHECK(at::equal(bytes(lists[0][i]), expected));
          }
        }
      }
    });
  }

  TEST_CASE("messages around the borders of pieces") {
    const auto [rank, size] = std::pair(fabric::world().rank, fabric::world().size);
    const auto pattern = [](std::int64_t count) {
      return at::arange(count, at::kFloat).remainder(1021);
    };
    const float mean_rank = static_cast<float>(size - 1) / 2;
    for_each_progress([&, rank = rank, size = size](const BackendPtr& backend) {
      const std::int64_t piece = (2 << 20) / 4, exchange = (512 << 10) / 4;
      for (std::int64_t count : {piece - 1, piece, piece + 1, 3 * piece + 5}) {
        CAPTURE(count);
        const auto base = pattern(count);
        std::vector<at::Tensor> tensors = {base + rank};
        c10d::AllreduceOptions options;
        options.reduceOp = ReduceOp::AVG;
        backend->allreduce(tensors, options)->wait();
        CHECK(at::equal(tensors[0], base + mean_rank));  // small whole numbers: no rounding
      }
      for (std::int64_t count : {exchange - 1, exchange, exchange + 1, 2 * exchange + 5}) {
        CAPTURE(count);
        const auto base = pattern(count * size);
        c10d::ReduceScatterOptions options;
        options.reduceOp = ReduceOp::AVG;
        auto input = base + rank;
        auto output = at::empty({count});
        backend->_reduce_scatter_base(output, input, options)->wait();
        CHECK(at::equal(output, base.narrow(0, rank * count, count) + mean_rank));

        auto gathered = at::empty({count * size});
        backend->_allgather_base(gathered, output)->wait();
        CHECK(at::equal(gathered, base + mean_rank));
      }
    });
  }

  TEST_CASE("coalesced forms do what their tensors would do one by one") {
    const auto [rank, size] = std::pair(fabric::world().rank, fabric::world().size);
    for_each_progress([&](const BackendPtr& backend) {
      const std::vector<std::pair<std::int64_t, at::ScalarType>> kinds = {
          {5, at::kFloat},      {300, at::kFloat}, {9, at::kLong},
          {300000, at::kFloat}, {0, at::kFloat},   {3, at::kBFloat16}};
      std::vector<at::Tensor> tensors, inputs, gathered, full, slices;
      for (auto [count, dtype] : kinds) {
        tensors.push_back(given(rank, count, dtype));
        inputs.push_back(given(rank, count, dtype));
        gathered.push_back(at::empty({count * size}, dtype));
        full.push_back(given(rank, count * size, dtype));
        slices.push_back(at::empty({count}, dtype));
      }
      backend->allreduce_coalesced(tensors)->wait();
      backend->allgather_into_tensor_coalesced(gathered, inputs)->wait();
      backend->reduce_scatter_tensor_coalesced(slices, full)->wait();
      std::vector<std::vector<at::Tensor>> lists(inputs.size());
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        for (int r = 0; r < size; ++r) {
          lists[i].push_back(at::empty_like(inputs[i]));
        }
      }
      backend->allgather_coalesced(lists, inputs)->wait();
      for (std::size_t i = 0; i < kinds.size(); ++i) {
        const auto [count, dtype] = kinds[i];
        CHECK(same(tensors[i], reduced(count, dtype, ReduceOp::SUM)));
        CHECK(same(slices[i],
                   reduced(count * size, dtype, ReduceOp::SUM).narrow(0, rank * count, count)));
        for (int r = 0; r < size; ++r) {
          CHECK(same(gathered[i].narrow(0, r * count, count), given(r, count, dtype)));
          CHECK(same(lists[i][r], given(r, count, dtype)));
        }
      }
    });
  }

  TEST_CASE("half keeps its special values and rounds to even") {
    const auto backend = make(Progress::run_inline);
    for (at::ScalarType dtype : {at::kHalf, at::kBFloat16}) {
      CAPTURE(dtype);
      // Every bit pattern, added to zeros of the other ranks.
      auto all = at::arange(65536, at::kInt).to(at::kUInt16).view(dtype);
      std::vector<at::Tensor> tensors = {fabric::world().rank == 0 ? all.clone()
                                                                   : at::zeros_like(all)};
      backend->allreduce(tensors)->wait();
      CHECK(at::equal(tensors[0].isnan(), all.isnan()));
      CHECK(at::equal(tensors[0].nan_to_num(1), all.nan_to_num(1)));
      // Sums as LibTorch rounds them.
      at::manual_seed(3);
      const auto values = at::randn({fabric::world().size, 4096}).mul_(100).to(dtype);
      std::vector<at::Tensor> sums = {values[fabric::world().rank].clone()};
      backend->allreduce(sums)->wait();
      if (fabric::world().size == 2) {
        CHECK(at::equal(sums[0], values[0] + values[1]));
      } else {
        CHECK(at::allclose(sums[0].to(at::kFloat), values.to(at::kFloat).sum(0), 2e-2, 2));
      }
    }
  }
}

TEST_SUITE("mpi.collectives order") {
  TEST_CASE("operations of one backend run in their order, inline ones too") {
    const auto backend = make(Progress::thread);
    auto large = given(fabric::world().rank, 1 << 20, at::kFloat);
    std::vector<c10::intrusive_ptr<c10d::Work>> works;
    std::vector<at::Tensor> smalls;
    std::vector<at::Tensor> tensors = {large};
    works.push_back(backend->allreduce(tensors));
    backend->set_progress(Progress::run_inline);  // but the large one may still be under way
    for (int i = 0; i < 20; ++i) {
      smalls.push_back(at::full({3}, i));
      std::vector<at::Tensor> one = {smalls.back()};
      works.push_back(backend->allreduce(one));
    }
    works.back()->wait();
    for (auto& work : works) {
      CHECK(work->isCompleted());
      CHECK(work->isSuccess());
    }
    for (int i = 0; i < 20; ++i) {
      CHECK(smalls[i][0].item<int>() == i * fabric::world().size);
    }
    CHECK(same(large, reduced(1 << 20, at::kFloat, ReduceOp::SUM)));
    CHECK(backend->submitted() == 21);
    CHECK(backend->finished() == 21);
  }

  TEST_CASE("two communicators may be used in a different order by the ranks") {
    const auto first = make(Progress::thread, "first");
    const auto second = make(Progress::thread, "second");
    for (int round = 0; round < 5; ++round) {
      auto a = given(fabric::world().rank, 100000, at::kFloat);
      auto b = given(fabric::world().rank, 100000, at::kDouble);
      std::vector<at::Tensor> of_a = {a}, of_b = {b};
      c10::intrusive_ptr<c10d::Work> x, y;
      if (fabric::world().rank % 2 == 0) {
        x = first->allreduce(of_a);
        y = second->allreduce(of_b);
      } else {
        y = second->allreduce(of_b);
        x = first->allreduce(of_a);
      }
      x->wait();
      y->wait();
      CHECK(same(a, reduced(100000, at::kFloat, ReduceOp::SUM)));
      CHECK(same(b, reduced(100000, at::kDouble, ReduceOp::SUM)));
    }
    CHECK(first->ran_inline() == 0);
  }

  TEST_CASE("the automatic choice runs small messages inline") {
    const auto backend = make(Progress::automatic);
    std::vector<at::Tensor> small = {at::ones({16})};
    for (int i = 0; i < 10; ++i) {
      backend->allreduce(small)->wait();
    }
    CHECK(backend->ran_inline() == 10);
  }

  TEST_CASE("tensors live until their collective ends, and a dropped backend works off its queue") {
    auto kept = at::ones({1000});
    {
      const auto backend = make(Progress::thread);
      for (int i = 0; i < 10; ++i) {
        std::vector<at::Tensor> dropped = {at::ones({200000})};
        backend->allreduce(dropped);
      }
      std::vector<at::Tensor> last = {kept};
      backend->allreduce(last);
    }
    CHECK(kept[0].item<int>() == fabric::world().size);
  }
}

TEST_SUITE("mpi.collectives futures and errors") {
  TEST_CASE("futures carry the tensors, whichever thread completes them") {
    for_each_progress([](const BackendPtr& backend) {
      std::vector<at::Tensor> tensors = {at::ones({100000})};
      auto future = backend->allreduce(tensors)->getFuture();
      std::promise<void> called;
      future->addCallback([&](c10::ivalue::Future&) { called.set_value(); });
      future->waitAndThrow();
      CHECK(called.get_future().wait_for(std::chrono::seconds(20)) == std::future_status::ready);
      const auto list = future->value().toTensorVector();
      REQUIRE(list.size() == 1);
      CHECK(list[0].data_ptr() == tensors[0].data_ptr());
      CHECK(list[0][0].item<int>() == fabric::world().size);
    });
  }

  TEST_CASE("wait() honours its timeout") {
    const auto backend = make(Progress::thread);
    if (fabric::world().size > 1) {
      std::vector<at::Tensor> tensors = {at::ones({100})};
      const auto others = make(Progress::run_inline, "others");
      if (fabric::world().rank == 0) {
        auto work = backend->allreduce(tensors);
        CHECK_THROWS_WITH_AS(work->wait(std::chrono::milliseconds(50)),
                             doctest::Contains("did not end within 50 ms"),
                             fabric::CommunicationError);
        others->barrier()->wait();
        CHECK(work->wait());
      } else {
        others->barrier()->wait();
        backend->allreduce(tensors)->wait();
      }
      CHECK(tensors[0][0].item<int>() == fabric::world().size);
    }
  }

  TEST_CASE("a failure of MPI reaches wait() and the future, from either thread") {
    if (fabric::world().size == 2) {
      for_each_progress([](const BackendPtr& backend) {
        // Rank 1 expects less than rank 0 sends.
        std::vector<at::Tensor> tensors = {at::ones({fabric::world().rank == 0 ? 100 : 1})};
        auto work = backend->broadcast(tensors);
        auto future = work->getFuture();
        if (fabric::world().rank == 0) {
          CHECK(work->wait());
        } else {
          CHECK_THROWS_WITH_AS(work->wait(), doctest::Contains("MPI_Bcast failed"),
                               fabric::CommunicationError);
          CHECK(!work->isSuccess());
          CHECK(work->exception() != nullptr);
          CHECK_THROWS(future->waitAndThrow());
        }
        std::vector<at::Tensor> next = {at::ones({10})};
        backend->allreduce(next)->wait();
        CHECK(next[0][0].item<int>() == 2);
      });
    }
  }

  TEST_CASE("FABRIC_MPI_PROGRESS says where operations run") {
    const char* before = std::getenv("FABRIC_MPI_PROGRESS");
    const std::string restored = before == nullptr ? "auto" : before;
    const auto progress = [] {
      return c10::static_intrusive_pointer_cast<fabric::mpi::Backend>(
                 fabric::mpi::make_backend("test", fabric::all_ranks()))
          ->progress();
    };
    setenv("FABRIC_MPI_PROGRESS", "thread", 1);
    CHECK(progress() == Progress::thread);
    setenv("FABRIC_MPI_PROGRESS", "inline", 1);
    CHECK(progress() == Progress::run_inline);
    setenv("FABRIC_MPI_PROGRESS", "spin", 1);
    CHECK_THROWS_WITH_AS(fabric::mpi::make_backend("test", fabric::all_ranks()),
                         doctest::Contains("got 'spin'; expected auto, inline or thread"),
                         fabric::MisconfigurationError);
    setenv("FABRIC_MPI_PROGRESS", restored.c_str(), 1);
  }

  TEST_CASE("misuse says what was given and what is valid") {
    const auto backend = make(Progress::run_inline);
    using doctest::Contains;
    using fabric::CommunicationError;
    const auto reduce = [&](at::Tensor tensor, ReduceOp::RedOpType op) {
      std::vector<at::Tensor> tensors = {std::move(tensor)};
      c10d::AllreduceOptions options;
      options.reduceOp = op;
      backend->allreduce(tensors, options);
    };
    CHECK_THROWS_WITH_AS(reduce(at::ones({4, 4}).t(), ReduceOp::SUM),
                         Contains("not contiguous; got shape [4, 4] with strides [1, 4]"),
                         CommunicationError);
    CHECK_THROWS_WITH_AS(reduce(at::ones({3}, at::kInt), ReduceOp::AVG),
                         Contains("got dtype Int; expected float, double, half or bfloat16"),
                         CommunicationError);
    CHECK_THROWS_WITH_AS(reduce(at::ones({3}, at::kComplexFloat), ReduceOp::SUM),
                         Contains("dtype cannot be reduced"), CommunicationError);
    CHECK_THROWS_WITH_AS(reduce(at::ones({3}), ReduceOp::BAND), Contains("got band; expected sum"),
                         CommunicationError);
    CHECK_THROWS_WITH_AS(reduce(at::ones({3}).to_sparse(), ReduceOp::SUM), Contains("not dense"),
                         CommunicationError);
    CHECK_THROWS_WITH_AS(reduce(at::Tensor(), ReduceOp::SUM), Contains("undefined"),
                         CommunicationError);
    CHECK_THROWS_WITH_AS(reduce(at::empty({3}, at::device(at::kMeta)), ReduceOp::SUM),
                         Contains("got device meta"), CommunicationError);
    auto output = at::empty({fabric::world().size * 3 + 1}), input = at::ones({3});
    CHECK_THROWS_WITH_AS(backend->_allgather_base(output, input), Contains("sizes do not fit"),
                         CommunicationError);
    auto integers = at::empty({fabric::world().size * 3}, at::kInt);
    CHECK_THROWS_WITH_AS(backend->_allgather_base(integers, input), Contains("dtypes differ"),
                         CommunicationError);
    std::vector<at::Tensor> two = {input, input};
    CHECK_THROWS_WITH_AS(backend->allreduce(two), Contains("got 2; expected 1"),
                         CommunicationError);
    std::vector<at::Tensor> one = {input};
    c10d::BroadcastOptions options;
    options.rootRank = fabric::world().size;
    CHECK_THROWS_WITH_AS(backend->broadcast(one, options), Contains("no such source rank"),
                         CommunicationError);
    CHECK(backend->submitted() == 0);
  }

  TEST_CASE("a Communicator reduces, copies and waits") {
    const auto [rank, size] = std::pair(fabric::world().rank, fabric::world().size);
    const auto all = fabric::make_communicator("user", at::kCPU);
    CHECK(all.rank() == rank);
    CHECK(all.size() == size);
    CHECK((all.process_group() == nullptr) == (size == 1));
    auto value = at::full({2}, rank + 1.0);
    all.all_reduce(value, "mean").wait();
    CHECK(value[0].item<double>() == doctest::Approx((size + 1) / 2.0));
    auto copied = at::full({2}, rank);
    all.broadcast(copied, size - 1).wait();
    CHECK(copied[1].item<int>() == size - 1);
    auto gathered = at::empty({size, 2}, at::kLong);
    auto pending = all.all_gather(gathered, at::full({2}, rank, at::kLong));
    pending.wait();
    CHECK(pending.done());
    CHECK(gathered.sum().item<int>() == size * (size - 1));
    auto slice = at::empty({2}, at::kLong);
    all.reduce_scatter(slice, gathered, "max").wait();
    CHECK(slice[0].item<int>() == rank);
    all.barrier();
    CHECK_THROWS_AS((void)all.all_reduce(at::ones({1}, at::kInt), "mean"),
                    fabric::CommunicationError);
    // The same through LibTorch's own dispatcher, as torch's tools use a group.
    if (size > 1) {
      std::vector<at::Tensor> tensors = {at::ones({3})};
      all.process_group()->allreduce(tensors)->wait();
      CHECK(tensors[0][0].item<int>() == size);
      all.process_group()->barrier()->wait();
    }
  }
}
