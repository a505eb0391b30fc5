// FabricOptions: fields, conversions of each of their value types, round trips and error texts.
#include <doctest/doctest.h>

#include <boost/pfr.hpp>
#include <limits>

#include <accelerators/error.h>
#include <fabric/options.h>

namespace {

using fabric::AcceleratorChoice;
using fabric::DDPOptions;
using fabric::FabricOptions;
using fabric::MisconfigurationError;
using fabric::PrecisionChoice;
using fabric::StrategyChoice;

// Boost.PFR counts fields by converting an object that converts to anything: this breaks as soon as
// a value type gains an unconstrained constructor.
static_assert(boost::pfr::tuple_size_v<FabricOptions> == 9);
static_assert(boost::pfr::tuple_size_v<DDPOptions> == 4);
static_assert(std::is_aggregate_v<FabricOptions>);
static_assert(!std::is_convertible_v<bool, StrategyChoice>);
static_assert(!std::is_convertible_v<int, PrecisionChoice>, "32 is not a precision, '32-true' is");
static_assert(!std::is_convertible_v<bool, AcceleratorChoice>);

FabricOptions taken(FabricOptions options) {
  return options;
}

}  // namespace

TEST_SUITE("fabric.options") {
  TEST_CASE("the fields have Python's names and order and what a parser sets comes last") {
    const auto names = boost::pfr::names_as_array<FabricOptions>();
    const std::vector<std::string_view> expected{"accelerator", "strategy",         "devices",
                                                 "num_nodes",   "precision",        "unrouted",
                                                 "grad_scaler", "matmul_precision", "resolved"};
    CHECK(std::vector<std::string_view>(names.begin(), names.end()) == expected);
  }

  TEST_CASE("designated initialisers are keyword arguments") {
    const FabricOptions options = taken({.accelerator = "cpu",
                                         .strategy = "ddp",
                                         .devices = 2,
                                         .num_nodes = 3,
                                         .precision = "bf16-mixed"});
    CHECK(options.accelerator.name() == "cpu");
    CHECK(options.strategy.name() == "ddp");
    CHECK(options.devices.requested() == 2);
    CHECK(options.num_nodes == 3);
    CHECK(options.precision.kind() == PrecisionChoice::bf16_mixed);
    const FabricOptions defaults = taken({});
    CHECK(defaults.accelerator.is_auto());
    CHECK(defaults.strategy.is_auto());
    CHECK(defaults.devices.is_auto());
    CHECK_FALSE(defaults.num_nodes.has_value());
    CHECK(defaults.precision.kind() == PrecisionChoice::fp32_true);
    CHECK(taken({.devices = fabric::device_ids{2}}).devices.to_text() == "2,");
    CHECK(taken({.devices = "0, 1"}).devices.ids().size() == 2);
  }

  TEST_CASE("a strategy is a name or its options") {
    CHECK(taken({.strategy = DDPOptions{.bucket_mb = 50}}).strategy.ddp().bucket_mb == 50);
    CHECK(taken({.strategy = DDPOptions{}}).strategy == StrategyChoice("ddp"));
    CHECK(taken({.strategy = fabric::FSDPOptions{.units = {"Block"}}}).strategy.to_text() ==
          "fsdp(units=Block)");
    CHECK(taken({.strategy = "fsdp"}).strategy == StrategyChoice(fabric::FSDPOptions{}));
    CHECK(taken({.strategy = std::string("Mine")}).strategy.name() == "Mine");
    for (const double size : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(),
                              std::numeric_limits<double>::infinity()}) {
      CHECK_THROWS_WITH_AS(StrategyChoice(DDPOptions{.bucket_mb = size}),
                           doctest::Contains("expected MiB greater than 0"), MisconfigurationError);
    }
  }

  TEST_CASE("texts of strategies round-trip with their options") {
    for (const std::string text :
         {"auto", "single_device", "ddp", "mine", "ddp(bucket_mb=0.1)",
          "ddp(bucket_mb=50, broadcast_buffers=false, average=false)", "ddp(reduce_dtype=bfloat16)",
          "fsdp", "fsdp(units=Block+head, prefetch=2)"}) {
      CAPTURE(text);
      CHECK(StrategyChoice::from_text(text).to_text() == text);
      CHECK(StrategyChoice(StrategyChoice(text).to_text()) == StrategyChoice(text));
    }
    CHECK(StrategyChoice::from_text(" DDP( average = true ) ") == StrategyChoice("ddp"));
    struct Row {
      const char* text;
      const char* what;
    };
    for (const Row& row : {Row{"", "the name is empty"}, Row{"(average=true)", "the name is empty"},
                           Row{"ddp(bucket=5)", "unknown option of ddp; got 'bucket=5'"},
                           Row{"ddp(bucket_mb=big)", "is not a number"},
                           Row{"ddp(bucket_mb=-5)", "is not positive; got bucket_mb=-5"},
                           Row{"ddp(average)", "neither true nor false"},
                           Row{"ddp(average=1", "options that cannot be read"},
                           Row{"fsdp(bucket_mb=1)", "unknown option of fsdp; got 'bucket_mb=1'"},
                           Row{"fsdp(prefetch=-1)", "negative number of units ahead"},
                           Row{"fsdp(prefetch=1.5)", "is not a whole number; got '1.5'"},
                           Row{"fsdp(units=a++b)", "units of fsdp that cannot be read"},
                           Row{"mine(a=1)", "options that cannot be read"}}) {
      CAPTURE(row.text);
      CHECK_THROWS_WITH_AS(StrategyChoice::from_text(row.text, "FABRIC_STRATEGY"),
                           doctest::Contains(row.what), MisconfigurationError);
      CHECK_THROWS_WITH_AS(StrategyChoice::from_text(row.text, "FABRIC_STRATEGY"),
                           doctest::Contains("from FABRIC_STRATEGY"), MisconfigurationError);
    }
  }

  TEST_CASE("accelerators") {
    for (const std::string text : {"auto", "cpu", "cuda", "gpu", "npu"}) {
      CHECK(AcceleratorChoice::from_text(text).to_text() == text);
    }
    CHECK(AcceleratorChoice(std::string("CPU")) == AcceleratorChoice("cpu"));
    CHECK_THROWS_WITH_AS(AcceleratorChoice(std::string(" ")), doctest::Contains("name is empty"),
                         MisconfigurationError);
  }

  TEST_CASE("precisions of matrix products") {
    CHECK(taken({}).matmul_precision.is("keep"));
    CHECK(taken({.matmul_precision = "high"}).matmul_precision.name() == "high");
    CHECK_THROWS_WITH_AS(
        fabric::MatmulPrecisionChoice::from_text("tf32", "FABRIC_MATMUL_PRECISION"),
        "[fabric.options] unknown matmul precision; got 'tf32' from FABRIC_MATMUL_PRECISION; "
        "expected keep, highest, high or medium",
        MisconfigurationError);
  }

  TEST_CASE("precisions") {
    constexpr PrecisionChoice literal = "bf16";
    static_assert(literal == PrecisionChoice("bf16-mixed"));
    for (const std::string text :
         {"32-true", "64-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true"}) {
      CHECK(PrecisionChoice::from_text(text).to_text() == text);
    }
    CHECK(PrecisionChoice(std::string("32")).to_text() == "32-true");
    CHECK(PrecisionChoice(std::string("64")).to_text() == "64-true");
    CHECK(PrecisionChoice(std::string("BF16")).to_text() == "bf16-mixed");
    CHECK(PrecisionChoice(std::string("16")).to_text() == "16-mixed");
    CHECK_THROWS_WITH_AS(
        PrecisionChoice::from_text("half", "FABRIC_PRECISION"),
        "[fabric.precision] unknown precision; got 'half' from FABRIC_PRECISION; expected 32-true, "
        "64-true, bf16-mixed, 16-mixed, bf16-true or 16-true",
        MisconfigurationError);
    for (const std::string text : {"", "fp32", "8"}) {
      CHECK_THROWS_WITH_AS(PrecisionChoice{text},
                           doctest::Contains("expected 32-true, 64-true, bf16-mixed"),
                           MisconfigurationError);
    }
  }
}
