#include <doctest/doctest.h>

#include <limits>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/pickle_reader.h>
#include <fabric/checkpoint/format/pickle_writer.h>
#include <tests/support/state_trees.h>
#include <tests/support/states.h>

namespace {

using fabric::StateDict;
using fabric::StateList;
using fabric::StateValue;
using Kind = StateList::Kind;

std::string pickle(const StateValue& state) {
  return fabric::detail::write_pickle(
      state, fabric::detail::plan_shared_storages(fabric::detail::tensors_of(state)));
}

// The state after a pickle of it has been read.
StateValue again(const StateValue& state) {
  const fabric::detail::StoragePlan plan =
      fabric::detail::plan_shared_storages(fabric::detail::tensors_of(state));
  fabric::detail::PickleReaderOptions options;
  options.storage = [&](const fabric::detail::PickleStorage& storage) {
    const fabric::detail::Blob& blob = plan.storages.at(std::stoul(storage.key));
    CHECK(blob.size == storage.nbytes);
    return blob.bytes;  // tensors of these tests begin where their bytes do
  };
  return fabric::detail::read_pickle(fabric::detail::write_pickle(state, plan), "test", options);
}

std::string error_of(const StateValue& state) {
  try {
    pickle(state);
  } catch (const fabric::CheckpointError& error) {
    return error.what();
  }
  return "no error";
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_SUITE("fabric.checkpoint.pickle_writer") {
  TEST_CASE("values come back as they were") {
    StateDict ordered{{"b", 1}, {"a", 2}};
    ordered.ordered = true;
    StateList numbers;
    for (const std::int64_t value :
         {std::int64_t{0}, std::int64_t{255}, std::int64_t{256}, std::int64_t{65535},
          std::int64_t{65536}, std::int64_t{-1}, std::int64_t{INT32_MAX}, std::int64_t{INT32_MIN},
          std::int64_t{INT32_MAX} + 1, std::int64_t{INT32_MIN} - 1, std::int64_t{INT64_MAX},
          std::int64_t{INT64_MIN}}) {
      numbers.push_back(value);
    }
    StateList many;  // more than one batch
    StateDict keys;
    for (int i = 0; i < 2500; ++i) {
      many.push_back(i);
      keys.append(std::to_string(i), "the same text");
    }
    const StateDict state{
        {"none", nullptr},
        {"bools", StateList({true, false})},
        {"numbers", numbers},
        {"reals", StateList({0.5, -0.0, std::numeric_limits<double>::infinity(),
                             std::numeric_limits<double>::quiet_NaN()})},
        {"complex", std::complex<double>(1, -2)},
        {"texts", StateList({"", "größe", std::string(300, 'x'), "torch\nSize\n", "Size"})},
        {"big", std::numeric_limits<std::uint64_t>::max()},
        {"bytes", StateList({fabric::Bytes{}, fabric::Bytes{std::string("\0\x80\xff", 3)}})},
        {"tuples", StateList({StateList({}, Kind::tuple), StateList({1}, Kind::tuple),
                              StateList({1, 2, 3}, Kind::tuple),
                              StateList({1, 2, 3, 4}, Kind::tuple)})},
        {"set", StateList({1, "a", StateList({1}, Kind::tuple)}, Kind::set)},
        {"size", StateList({3, 4}, Kind::size)},
        {"ordered", ordered},
        {"empty", StateList({StateList(), StateDict(), StateList({}, Kind::set)})},
        {"dtype", at::kFloat8_e4m3fn},
        {"devices", StateList({c10::Device(at::kCPU), c10::Device(at::kCUDA, 3)})},
        {"many", many},
        {"keys", keys},
        {7, StateDict{{StateList({1, "x"}, Kind::tuple), 1}, {nullptr, 2}, {0.5, 3}, {true, 4}}},
    };
    CHECK(difference(again(state), state) == "");
  }

  TEST_CASE("tensors of every dtype") {
    for (const at::ScalarType dtype : support::dense_dtypes()) {
      CAPTURE(dtype);
      const StateDict state{{"x", support::counted({3, 2}, dtype)}};
      CHECK(difference(again(state), state) == "");
    }
    at::Tensor parameter = support::counted({2}).requires_grad_();
    CHECK(again(StateDict{{"x", parameter}})["x"].stored().requires_grad);
    CHECK(has(error_of(StateDict{{"x", fabric::StoredTensor(
                                           at::kInt4, {1}, {1}, 0,
                                           StateValue(support::counted({4})).stored().bytes())}}),
              "dtype Int4"));
  }

  TEST_CASE("texts that come again are written once") {
    StateDict state;
    for (int i = 0; i < 1000; ++i) {
      state.append(i, StateDict{{"exponential_moving_average", 1}, {"squares_of_gradients", 2}});
    }
    CHECK(pickle(state).size() < 1000 * 24);
  }

  TEST_CASE("what Python refuses is an error that names its place") {
    const auto in = [](const StateValue& value) {
      return StateDict{{"a", StateList({1, StateDict{{7, value}}})}};
    };
    CHECK(has(error_of(in(StateList({1}, Kind::frozenset))), "state['a'][1][7]"));
    CHECK(has(error_of(in(StateList({1}, Kind::frozenset))), "frozenset"));
    CHECK(has(error_of(in("\xff")), "no UTF-8"));
    CHECK(has(error_of(in(fabric::BigInteger{std::string(256, '\1')})), "256 bytes"));
    CHECK(pickle(in(fabric::BigInteger{std::string(255, '\1')})).size() > 255);
    CHECK(has(error_of(in(StateList({0.5}, Kind::size))), "torch.Size"));
    CHECK(has(error_of(in(StateList({StateList({1})}, Kind::set))), "a set with"));
    CHECK(has(error_of(StateDict{{fabric::Bytes{"x"}, 1}}), "the key 1 bytes"));
    CHECK(has(error_of(StateDict{{StateList({1}), 1}}), "the key a list"));
    StateDict twice;
    twice.append("x", 1);
    twice.append("x", 2);
    CHECK(has(error_of(StateDict{{"in", twice}}), "two values with the key"));
    StateValue deep = 1;
    for (int i = 0; i < 256; ++i) {
      deep = StateList({deep});
    }
    CHECK(difference(again(deep), deep) == "");
    CHECK(has(error_of(StateList({deep})), "nested too deep"));
  }
}
