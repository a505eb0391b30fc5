// The `devices` option: parsing, round trip, error texts, and resolution against counts.
#include <doctest/doctest.h>

#include <boost/pfr.hpp>

#include <accelerators/accelerator.h>
#include <accelerators/cuda/cuda.h>
#include <accelerators/devices.h>
#include <accelerators/error.h>
#include <accelerators/registry.h>

namespace {

using fabric::AcceleratorFacts;
using fabric::device_ids;
using fabric::DeviceError;
using fabric::Devices;
using fabric::MisconfigurationError;
using Ids = std::vector<int>;

const AcceleratorFacts kCpu{"cpu", c10::DeviceType::CPU, 1, 1};
const AcceleratorFacts kFourGpus{"cuda", c10::DeviceType::CUDA, 4, 4};
const AcceleratorFacts kNoGpu{"cuda", c10::DeviceType::CUDA, 0, 0};

struct HasDevices {
  Devices devices;
  int after = 0;
};

static_assert(!std::is_convertible_v<bool, Devices>, "true is no count");
static_assert(!std::is_convertible_v<char, Devices> && !std::is_convertible_v<double, Devices>);
static_assert(std::is_convertible_v<int, Devices> && std::is_convertible_v<long, Devices>);
static_assert(std::is_convertible_v<std::string, Devices>);
static_assert(boost::pfr::tuple_size_v<HasDevices> == 2);

}  // namespace

TEST_SUITE("accelerators.devices") {
  TEST_CASE("literals are read at compile time") {
    constexpr Devices automatic = "auto";
    static_assert(automatic.is_auto() && automatic == Devices());
    constexpr Devices two = "2";
    static_assert(two.kind() == Devices::count && two.requested() == 2);
    constexpr Devices all = "-1";
    static_assert(all.kind() == Devices::all && !all.requested());
    constexpr Devices ids = "0, 3";
    static_assert(ids.kind() == Devices::list && ids.ids()[1] == 3 && ids.requested() == 2);
  }

  TEST_CASE("a number alone is a count, a comma makes ids") {
    CHECK(Devices(2) == Devices("2"));
    CHECK(Devices(-1) == Devices("-1"));
    CHECK(Devices(device_ids{2}) == Devices("2,"));
    CHECK(Devices(device_ids{0, 1}) == Devices(std::string(" 0 ,1 ")));
    CHECK_FALSE(Devices(device_ids{2}) == Devices(2));
    const HasDevices in_aggregate{.devices = 3};
    CHECK(in_aggregate.devices.requested() == 3);
  }

  TEST_CASE("texts round-trip") {
    for (const std::string text : {"auto", "-1", "1", "8", "0,", "2,", "0, 1", "3, 1, 2"}) {
      CAPTURE(text);
      CHECK(Devices::from_text(text).to_text() == text);
      CHECK(Devices(Devices(text).to_text()) == Devices(text));
    }
  }

  TEST_CASE("what cannot be devices says so") {
    struct Row {
      std::string text;
      const char* what;
    };
    for (const Row& row :
         {Row{"0", "no device is asked for"}, Row{"", "no device is given"},
          Row{"  ", "no device is given"}, Row{"-2", "count of devices is negative"},
          Row{"0, -1", "id of a device is negative"}, Row{"1, 1", "given twice"},
          Row{"tow", "not a count"}, Row{"1.5", "not a count"}, Row{"1 2", "not a count"},
          Row{",", "not a count"}, Row{"0,,1", "not a count"}, Row{"cuda:1", "not a count"},
          Row{"99999999999", "not a count"}}) {
      CAPTURE(row.text);
      CHECK_THROWS_WITH_AS(Devices(row.text), doctest::Contains(row.what), MisconfigurationError);
      CHECK_THROWS_WITH_AS(Devices(row.text), doctest::Contains("'0, 1'"), MisconfigurationError);
    }
    CHECK_THROWS_WITH_AS(Devices(0), doctest::Contains("got '0'"), MisconfigurationError);
    CHECK_THROWS_WITH_AS(Devices(-3), doctest::Contains("-1 is the only"), MisconfigurationError);
    CHECK_THROWS_WITH_AS(Devices(1LL << 40), doctest::Contains("range"), MisconfigurationError);
    CHECK_THROWS_WITH_AS(Devices(device_ids{}), doctest::Contains("no device is given"),
                         MisconfigurationError);
    CHECK_THROWS_WITH_AS(Devices(device_ids{1, 1}), doctest::Contains("got '1, 1'"),
                         MisconfigurationError);
    CHECK_THROWS_WITH_AS(Devices::from_text("two", "FABRIC_DEVICES"),
                         "[fabric.devices] not a count of devices and not a list of ids; got 'two' "
                         "from FABRIC_DEVICES; expected auto, a count such as 2, -1 for all "
                         "devices, or ids such as '0, 1'. Hint: ids are separated by commas; a "
                         "single one needs a comma too: '2,'.",
                         MisconfigurationError);
  }

  TEST_CASE("more ids than any node has are refused") {
    std::vector<int> many(65);
    for (int i = 0; i < 65; ++i) {
      many[i] = i;
    }
    CHECK_THROWS_WITH_AS(Devices(device_ids(many)), doctest::Contains("more than 64"),
                         MisconfigurationError);
    many.pop_back();
    CHECK(Devices(device_ids(many)).ids().size() == 64);
  }

  TEST_CASE("resolution on GPUs") {
    CHECK(resolve(Devices("auto"), kFourGpus) == Ids{0, 1, 2, 3});
    CHECK(resolve(Devices(-1), kFourGpus) == Ids{0, 1, 2, 3});
    CHECK(resolve(Devices(2), kFourGpus) == Ids{0, 1});
    CHECK(resolve(Devices(device_ids{3, 1}), kFourGpus) == Ids{3, 1});
    CHECK_THROWS_WITH_AS(
        resolve(Devices(5), kFourGpus),
        doctest::Contains("got devices='5' and 4 cuda devices; expected at most 4"), DeviceError);
    CHECK_THROWS_WITH_AS(resolve(Devices("0, 4"), kFourGpus, "FABRIC_DEVICES"),
                         doctest::Contains("device 4 is absent; got '0, 4' from FABRIC_DEVICES"),
                         DeviceError);
    CHECK_THROWS_WITH_AS(resolve(Devices(-1), kNoGpu), doctest::Contains("there is no device"),
                         DeviceError);
  }

  TEST_CASE("resolution on the CPU counts processes") {
    CHECK(resolve(Devices("auto"), kCpu) == Ids{0});
    CHECK(resolve(Devices(3), kCpu) == Ids{0, 1, 2});
    CHECK(resolve(Devices(3), fabric::get_accelerator("cpu")) == Ids{0, 1, 2});
    CHECK_THROWS_WITH_AS(resolve(Devices("0, 1"), kCpu), doctest::Contains("the CPU has no ids"),
                         MisconfigurationError);
    CHECK_THROWS_WITH_AS(resolve(Devices(-1), kCpu), doctest::Contains("number of processes"),
                         MisconfigurationError);
  }

  TEST_CASE("usable CUDA devices") {
    CHECK(fabric::find_usable_cuda_devices(0).empty());
    CHECK_THROWS_WITH_AS(fabric::find_usable_cuda_devices(-2), doctest::Contains("got -2"),
                         MisconfigurationError);
    if (fabric::cuda::device_count() == 0) {
      CHECK_THROWS_AS(fabric::find_usable_cuda_devices(), DeviceError);
      CHECK_THROWS_WITH_AS(fabric::find_usable_cuda_devices(1),
                           doctest::Contains(fabric::cuda::unavailable_reason().c_str()),
                           DeviceError);
    } else {
      const Ids usable = fabric::find_usable_cuda_devices();
      CHECK(usable.size() <= static_cast<std::size_t>(fabric::cuda::device_count()));
      CHECK(fabric::find_usable_cuda_devices(1) == Ids{usable[0]});
      CHECK_THROWS_WITH_AS(fabric::find_usable_cuda_devices(1000),
                           doctest::Contains("expected 1000"), DeviceError);
    }
  }
}
