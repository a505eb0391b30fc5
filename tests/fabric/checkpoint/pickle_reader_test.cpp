#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include <accelerators/error.h>
#include <fabric/checkpoint/format/pickle_reader.h>
#include <tests/support/state_trees.h>
#include <tests/support/states.h>

namespace {

using fabric::StateDict;
using fabric::StateList;
using fabric::StateValue;
using fabric::detail::PickleReaderOptions;
using namespace std::string_literals;

// The instructions between the first and the last, which every pickle has.
StateValue read(const std::string& body, const PickleReaderOptions& options = {},
                char protocol = 2) {
  return fabric::detail::read_pickle("\x80"s + protocol + body + ".", "test", options);
}

std::string error_of(const std::string& body, const PickleReaderOptions& options = {}) {
  try {
    read(body, options);
  } catch (const fabric::CheckpointError& error) {
    return error.what();
  }
  return "no error";
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string text(const std::string& text) {
  return "X"s + char(text.size()) + "\0\0\0"s + text;
}

// Eight floats 0, 1, … in "0".
class FloatBytes final : public fabric::detail::TensorBytes {
 public:
  std::int64_t size() const override { return 32; }
  void read(std::int64_t begin, std::int64_t count, void* to) const override {
    const float values[] = {0, 1, 2, 3, 4, 5, 6, 7};
    std::memcpy(to, reinterpret_cast<const char*>(values) + begin, std::size_t(count));
  }
};

PickleReaderOptions with_floats() {
  PickleReaderOptions options;
  options.storage = [](const fabric::detail::PickleStorage& storage) {
    FABRIC_CHECK(Checkpoint, storage.key == "0" && storage.nbytes == 32, "another storage");
    return std::make_shared<FloatBytes>();
  };
  return options;
}

std::string storage(const std::string& type = "torch\nFloatStorage\n", char elements = 8) {
  return "(" + text("storage") + "c" + type + text("0") + text("cpu") + "K" + elements + "tQ";
}

// sizes, strides and offset as they stand in the pickle.
std::string tensor(const std::string& offset, const std::string& sizes, const std::string& strides,
                   const std::string& more = "") {
  return "ctorch._utils\n_rebuild_tensor_v2\n(" + storage() + offset + sizes + strides +
         "\x89" "ccollections\nOrderedDict\n)R" + more + "tR";
}

}  // namespace

TEST_SUITE("fabric.checkpoint.pickle_reader") {
  TEST_CASE("numbers, texts and bytes") {
    CHECK(read("N").is_none());
    CHECK(read("\x88").as<bool>());
    CHECK_FALSE(read("\x89").as<bool>());
    CHECK(read("K\xff").as<int>() == 255);
    CHECK(read("M\xff\xff").as<int>() == 65535);
    CHECK(read("J\xff\xff\xff\xff").as<int>() == -1);
    CHECK(read("\x8a\x00"s).as<int>() == 0);
    CHECK(read("\x8a\x01\x80"s).as<int>() == -128);
    CHECK(read("\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80"s).as<std::int64_t>() == INT64_MIN);
    CHECK(read("\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x00"s).as<std::uint64_t>() == UINT64_MAX);
    CHECK(read("\x8b\x02\x00\x00\x00\x00\x01"s).as<int>() == 256);
    CHECK(read("G\x3f\xf0\x00\x00\x00\x00\x00\x00"s).as<double>() == 1.0);
    CHECK(std::isnan(read("G\x7f\xf8\x00\x00\x00\x00\x00\x00"s).as<double>()));
    CHECK(read(text("é")).string() == "é");
    CHECK(read("X\x03\x00\x00\x00\xed\xa0\x80"s).string().size() == 3);  // a surrogate
    CHECK(read("\x8c\x02hi").string() == "hi");
    CHECK(read("C\x02\x00\xff"s).as<fabric::Bytes>().data == "\x00\xff"s);
    CHECK(read("B\x01\x00\x00\x00\x07"s).as<fabric::Bytes>().data == "\x07");
    CHECK(read("c_codecs\nencode\n" + text("aÿ") + text("latin1") + "\x86R")
              .as<fabric::Bytes>()
              .data == "a\xff");
    CHECK(read("c__builtin__\nbytes\n)R").as<fabric::Bytes>().data.empty());
    CHECK(read("c__builtin__\nbytearray\n" + text("ÿ") + text("latin-1") + "\x86R")
              .as<fabric::Bytes>()
              .data == "\xff");
    CHECK(read("cbuiltins\nbytearray\nC\x01z\x85R").as<fabric::Bytes>().data == "z");
    CHECK(read("cbuiltins\ncomplex\nK\x01G\xc0\x00\x00\x00\x00\x00\x00\x00\x86R"s)
              .as<std::complex<double>>() == std::complex<double>(1, -2));
    CHECK((read("ctorch\nbfloat16\n").as<c10::ScalarType>() == at::kBFloat16));
    CHECK(read("ctorch\ndevice\n" + text("cuda") + "K\x01\x86R").as<c10::Device>() ==
          c10::Device(at::kCUDA, 1));
    CHECK(read("ctorch.serialization\n_get_layout\n" + text("torch.strided") + "\x85R").string() ==
          "torch.strided");
  }

  TEST_CASE("containers") {
    using Kind = StateList::Kind;
    CHECK(difference(read("](K\x01K\x02" "e"), StateList({1, 2})).empty());
    CHECK(difference(read("(K\x01K\x02K\x03K\x04t"),
                              StateList({1, 2, 3, 4}, Kind::tuple)).empty());
    CHECK(difference(read("K\x01K\x02\x86"), StateList({1, 2}, Kind::tuple)).empty());
    CHECK(difference(read("ctorch\nSize\nK\x01K\x02\x86\x85R"),
                              StateList({1, 2}, Kind::size)).empty());
    CHECK(difference(read("c__builtin__\nset\n](K\x01" "e\x85R"),
                              StateList({1}, Kind::set)).empty());
    CHECK(difference(read("\x8f(K\x01\x90"), StateList({1}, Kind::set)).empty());
    CHECK(difference(read("(K\x01\x91"), StateList({1}, Kind::frozenset)).empty());
    CHECK(difference(read("c__builtin__\nfrozenset\n]\x85R"),
                              StateList({}, Kind::frozenset)).empty());
    CHECK(difference(read("}(" + text("a") + "K\x01K\x07Nu"),
                              StateDict{{"a", 1}, {7, nullptr}}).empty());
    CHECK(difference(read("}" + text("a") + "K\x01s"), StateDict{{"a", 1}}).empty());
    CHECK(difference(read("ccollections\nCounter\n}K\x01K\x02s\x85R"),
                              StateDict{{1, 2}}).empty());
    CHECK(difference(read("ccollections\ndefaultdict\nc__builtin__\nlist\n\x85RK\x01]s"),
                              StateDict{{1, StateList()}}).empty());
    StateDict ordered{{"a", 1}};
    ordered.ordered = true;
    // With the attributes that a module's state_dict() has.
    CHECK(difference(read("ccollections\nOrderedDict\n)R" + text("a") + "K\x01s}" +
                                   text("_metadata") + "}sb"),
                              ordered).empty());
  }

  TEST_CASE("protocols 4 and 5") {
    const std::string framed = "\x95\x16\x00\x00\x00\x00\x00\x00\x00"s;
    const std::string body = "\x8c\x05torch\x94\x8c\x07" "float32\x94\x93\x94N0";
    CHECK((read(framed + body, {}, 4).as<c10::ScalarType>() == at::kFloat));
    // MEMOIZE numbers what it remembers one by one.
    CHECK(difference(read("]\x94(\x8c\x01x\x94h\x01" "e"s, {}, 4),
                              StateList({"x", "x"})).empty());
    CHECK(read("\x96\x01\x00\x00\x00\x00\x00\x00\x00z"s, {}, 5).as<fabric::Bytes>().data == "z");
    CHECK(read("\x8d\x01\x00\x00\x00\x00\x00\x00\x00z"s, {}, 4).string() == "z");
    CHECK(has(error_of("\x97"), "instruction 151"));  // a buffer that lies elsewhere
    CHECK_THROWS_AS(read("N", {}, 1), fabric::CheckpointError);
    CHECK_THROWS_AS(read("N", {}, 6), fabric::CheckpointError);
  }

  TEST_CASE("what is shared is complete, wherever it is met first") {
    // [x, x] with x = [1]: x is remembered while it is empty.
    const StateValue twice = read("](]q\x01K\x01" "ah\x01" "e");
    CHECK(difference(twice, StateList({StateList({1}), StateList({1})})).empty());
    const StateValue later = read("](]q\x01h\x01K\x01" "ae");
    CHECK(difference(later, StateList({StateList({1}), StateList({1})})).empty());
  }

  TEST_CASE("cycles, nesting and bombs are errors") {
    CHECK(has(error_of("]q\x01h\x01" "a"), "contains itself"));
    CHECK(has(error_of("}q\x01" + text("a") + "h\x01\x85s"), "contains itself"));
    // As Python writes a tuple that lies in its own list.
    CHECK(has(error_of("]q\x00(h\x00\x85q\x01" "0h\x01h\x00h\x01" "a"s), "values"));
    CHECK(has(error_of(std::string(300, ']') + std::string(299, 'a')), "nested too deep"));
    CHECK(read(std::string(256, ']') + std::string(255, 'a')).is_list());
    // Ten lists of ten times the one before.
    std::string bomb = "]q\x01";
    for (char level = 1; level < 11; ++level) {
      bomb += "]q"s + char(level + 1) + "(";
      for (int i = 0; i < 10; ++i) {
        bomb += "h"s + level;
      }
      bomb += "e";
    }
    bomb += "\x85\x85";
    CHECK(has(error_of("(" + bomb + "t"), "shared too often"));
    // A long text that is met often.
    std::string texts = "](" + "X\x00\x00\x01\x00"s + std::string(65536, 'a') + "q\x01";
    for (int i = 0; i < 60000; ++i) {
      texts += "h\x01";
    }
    CHECK(has(error_of(texts + "e"), "shared too often"));
    // What optimizers share is no bomb.
    std::string shared = "](K\x01K\x02\x86q\x01";
    for (int i = 0; i < 10000; ++i) {
      shared += "h\x01";
    }
    CHECK(read(shared + "e").list().size() == 10001);
  }

  TEST_CASE("damaged pickles are errors") {
    CHECK(has(error_of(""), "leaves 0 values"));
    CHECK(has(error_of("NN"), "leaves 2 values"));
    CHECK(has(error_of("N(") , "leaves 1 values"));
    CHECK(has(error_of("a"), "value is missing"));
    CHECK(has(error_of("N(a"), "value is missing"));  // nothing reaches below a mark
    CHECK(has(error_of("t"), "mark is missing"));
    CHECK(has(error_of("N\x86"), "tuple lacks values"));
    CHECK(has(error_of("NNa"), "adds to None"));
    CHECK(has(error_of("}(K\x01u"), "key without a value"));
    CHECK(has(error_of("}(K\x01NK\x01Nu"), "key twice"));
    CHECK(has(error_of("}]Ns"), "as a key"));
    CHECK(has(error_of("h\x07"), "does not have"));
    CHECK(has(error_of("Nr\xff\xff\xff\x7f"), "has the number"));
    CHECK(has(error_of("X\xff\xff\xff\xff"), "cut off or damaged"));
    CHECK(has(error_of("\x8d\xff\xff\xff\xff\xff\xff\xff\xff"), "cut off or damaged"));
    CHECK(has(error_of("\x8b\xff\xff\xff\xff"), "cut off or damaged"));
    CHECK(has(error_of("\x95\xff\xff\xff\xff\xff\xff\xff\xffN"), "frame"));
    CHECK(has(error_of("X\x01\x00\x00\x00\xff"s), "no UTF-8"));
    CHECK(has(error_of("ctorch"), "name without an end"));
    CHECK(has(error_of("N.N"), "behind its end"));
    CHECK(has(error_of("ccollections\nOrderedDict\nK\x01R"), "it calls"));
    CHECK(has(error_of("]]b"), "gives a state to a list"));
    CHECK(has(error_of("ctorch\nfloat32\n)R"), "which nothing does"));
    CHECK(has(error_of("ctorch\ndevice\n" + text("toaster") + "\x85R"), "toaster"));
    CHECK(has(error_of("ctorch\nSize\n]\x85R"), "other arguments"));
    CHECK(has(error_of("ctorch\nSize\nN\x85\x85R"), "other arguments"));
    CHECK(has(error_of("NQ"), "no storage"));
    CHECK_THROWS_AS(fabric::detail::read_pickle("", "test"), fabric::CheckpointError);
    CHECK_THROWS_AS(fabric::detail::read_pickle("\x80", "test"), fabric::CheckpointError);
  }

  TEST_CASE("what a pickle may not name is an error that names it") {
    CHECK(has(error_of("cos\nsystem\n" + text("true") + "\x85R"), "'os.system'"));
    CHECK(has(error_of("\x8c\x05posix\x8c\x06system\x93"), "'posix.system'"));
    CHECK(has(error_of("cnumpy.core.multiarray\nscalar\n"), "'numpy.core.multiarray.scalar'"));
    CHECK(has(error_of("cbuiltins\ngetattr\n"), "'builtins.getattr'"));
    CHECK(has(error_of("cbuiltins\neval\n"), "'builtins.eval'"));
    CHECK(has(error_of("ctorch._utils\n_rebuild_qtensor\n"), "quantised"));
    CHECK(has(error_of("ctorch._utils\n_rebuild_sparse_tensor\n"), "sparse"));
    CHECK(has(error_of("ctorch._utils\n_rebuild_nested_tensor\n"), "nested"));
    CHECK(has(error_of("ctorch._utils\n_rebuild_meta_tensor_no_storage\n"), "meta"));
    CHECK(has(error_of("ctorch._utils\n_rebuild_wrapper_subclass\n"), "subclass"));
    CHECK(has(error_of("ctorch\nSize\n"), "the global torch.Size as a value"));
    CHECK(has(error_of(storage(), with_floats()), "a storage as a value"));
  }

  TEST_CASE("tensors lie in their storages") {
    const PickleReaderOptions options = with_floats();
    const StateValue whole = read(tensor("K\0"s, "K\x02K\x03\x86", "K\x03K\x01\x86"), options);
    CHECK(whole.tensor().equal(at::arange(6, at::kFloat).view({2, 3})));
    const StateValue turned = read(tensor("K\x02", "K\x03K\x02\x86", "K\x01K\x03\x86"), options);
    CHECK(turned.tensor().equal((at::arange(6, at::kFloat) + 2).view({2, 3}).t()));
    CHECK(turned.tensor().strides() == at::IntArrayRef({1, 3}));
    CHECK(read(tensor("K\x07", ")", ")"), options).tensor().item<float>() == 7);
    CHECK(read(tensor("K\x63", "K\0\x85"s, "K\x01\x85"), options).tensor().numel() == 0);
    // A billion times the same element, without room for them.
    const StateValue expanded = read(tensor("K\x03", "J\0\xca\x9a\x3b\x85"s, "K\0\x85"s), options);
    CHECK(expanded.tensor().numel() == 1000000000);
    CHECK(expanded.tensor()[999999999].item<float>() == 3);
    const auto refused = [&](const std::string& body) {
      return has(error_of(body, options), "does not lie in its storage");
    };
    CHECK(refused(tensor("K\x08", ")", ")")));
    CHECK(refused(tensor("K\0"s, "K\x09\x85", "K\x01\x85")));
    CHECK(refused(tensor("K\x01", "K\x08\x85", "K\x01\x85")));
    CHECK(refused(tensor("J\xff\xff\xff\xff", ")", ")")));
    CHECK(refused(tensor("K\0"s, "K\x02\x85", ")")));
    const std::string huge = "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f";
    CHECK(refused(tensor(huge, ")", ")")));
    CHECK(refused(tensor("K\0"s, huge + "\x85", "K\0\x85"s)));
    CHECK(refused(tensor("K\0"s, "K\x02\x85", huge + "\x85")));
    CHECK(refused(tensor("K\0"s, huge + "K\x04K\0\x87"s, "K\0K\0K\0\x87"s)));
    CHECK(has(error_of(tensor("K\0"s, "J\xff\xff\xff\xff\x85", "K\x01\x85"), options), "no numbers"));
    CHECK(has(error_of(tensor("K\0"s, "K\x02\x85", "J\xff\xff\xff\xff\x85"), options), "no numbers"));
    std::string deep = "(";
    for (int i = 0; i < 65; ++i) {
      deep += "K\x01";
    }
    deep += "t";
    CHECK(has(error_of(tensor("K\0"s, deep, deep), options), "shape"));
    CHECK(has(error_of(tensor("K\0"s, ")", ")")), "expected none here"));
  }

  TEST_CASE("dtypes, gradients and marks of tensors") {
    const PickleReaderOptions options = with_floats();
    const std::string v3 = "ctorch._utils\n_rebuild_tensor_v3\n(" +
                           storage("torch.storage\nUntypedStorage\n", 32) +
                           "K\0K\x04\x85K\x01\x85\x89"s "ccollections\nOrderedDict\n)R" +
                           "ctorch\nuint64\ntR";
    const StateValue integers = read(v3, options);
    CHECK((integers.stored().dtype() == at::kUInt64));
    CHECK(integers.stored().sizes() == at::IntArrayRef({4}));

    const std::string plain = tensor("K\x01", "K\x02\x85", "K\x01\x85");
    CHECK_FALSE(read(plain, options).stored().requires_grad);
    const std::string parameter = "ctorch._utils\n_rebuild_parameter\n" + plain +
                                  "\x88" "ccollections\nOrderedDict\n)R\x87R";
    CHECK(read(parameter, options).stored().requires_grad);
    std::string integers_with_grad = parameter;
    integers_with_grad.replace(integers_with_grad.find("FloatStorage"), 12, "IntStorage");
    CHECK(has(error_of(integers_with_grad, options), "requires grad"));
    const std::string attributes = "ctorch._tensor\n_rebuild_from_type_v2\n"
                                   "(ctorch._utils\n_rebuild_tensor_v2\nctorch\nTensor\n(" +
                                   storage() + "K\0K\x02\x85K\x01\x85\x89NtNtR"s;
    CHECK(read(attributes, options).tensor().numel() == 2);
    std::string subclass = attributes;
    subclass.replace(subclass.find("ctorch\nTensor\n"), 14, "cmine\nTensor\n");
    CHECK(has(error_of(subclass, options), "'mine.Tensor'"));

    const auto marked = [&](const std::string& marks) {
      return tensor("K\x01", "K\x03\x85", "K\x01\x85", marks);
    };
    CHECK(read(marked("}" + text("neg") + "\x88s"), options)
              .tensor()
              .equal(at::tensor({-1.f, -2.f, -3.f})));
    CHECK(has(error_of(marked("}" + text("conj") + "\x88s"), options), "marked"));
    CHECK(has(error_of(marked("}" + text("other") + "\x88s"), options), "'other'"));
    std::string complex = marked("}" + text("conj") + "\x88s");
    complex.replace(complex.find("FloatStorage"), 12, "ComplexFloatStorage");
    complex.replace(complex.find("K\x08t"), 3, "K\x04t");
    CHECK(read(complex, options)
              .tensor()
              .equal(at::complex(at::tensor({2.f, 4.f, 6.f}), at::tensor({-3.f, -5.f, -7.f}))));
    std::string quantised = plain;
    quantised.replace(quantised.find("FloatStorage"), 12, "QInt32Storage");
    CHECK(has(error_of(quantised, options), "quantised"));
    CHECK(has(error_of("]" + plain + "a(" + text("storage") + "ctorch\nIntStorage\n" + text("0") +
                           text("cpu") + "K\x08tQ0",
                       options),
              "two lengths or dtypes"));
  }

  TEST_CASE("plain classes come as dictionaries") {
    PickleReaderOptions options;
    options.plain_classes = {"pathlib.PosixPath", "mine.Data", "mine.Kind"};
    const StateValue path = read("cpathlib\nPosixPath\n" + text("/") + text("a") + "\x86R", options);
    CHECK(difference(
              path, StateDict{{"__class__", "pathlib.PosixPath"},
                              {"__args__", StateList({"/", "a"}, StateList::Kind::tuple)}})
              .empty());
    const StateValue data = read("cmine\nData\n)\x81}" + text("x") + "K\x01sb", options);
    CHECK(difference(data, StateDict{{"__class__", "mine.Data"}, {"x", 1}}).empty());
    const StateValue other = read("cmine\nData\n)\x81K\x01\x85" "b", options);
    CHECK(difference(other, StateDict{{"__class__", "mine.Data"},
                                               {"__state__",
                                                StateList({1}, StateList::Kind::tuple)}})
              .empty());
    const StateValue member =
        read("cbuiltins\ngetattr\ncmine\nKind\n" + text("ONE") + "\x86R", options);
    CHECK(difference(member, StateDict{{"__class__", "mine.Kind"}, {"__name__", "ONE"}})
              .empty());
    // As a key, and again through the memo.
    const StateValue keyed = read("}cmine\nData\n)\x81q\x01}" + text("x") + "K\x01sbh\x01s", options);
    CHECK(keyed.dict().begin()[0].first.contains("x"));
    CHECK(has(error_of("cmine\nOther\n", options), "'mine.Other'"));
    CHECK(has(error_of("cbuiltins\ngetattr\nN" + text("x") + "\x86R", options), "other arguments"));
  }
}
