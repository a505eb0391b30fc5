// What all fused optimizers share: layouts, dtypes, groups, state, archives, schedulers.
#include <sstream>

#include <torch/torch.h>

#include <accelerators/error.h>
#include <fabric/fabric.h>
#include <fabric/optim/optimizers.h>

#include <tests/support/training.h>

#include <doctest/doctest.h>

namespace {

using fabric::FusedAdamW;
using Tensors = std::vector<torch::Tensor>;

constexpr double kExact = 1e-12;

torch::Tensor parameter(torch::IntArrayRef shape, torch::Dtype dtype = torch::kDouble) {
  return torch::randn(shape, dtype).requires_grad_();
}

Tensors copies(const Tensors& tensors) {
  Tensors result;
  for (const auto& tensor : tensors) {
    result.push_back(tensor.detach().clone().requires_grad_());
  }
  return result;
}

// The same gradients for both.
void random_gradients(const Tensors& a, const Tensors& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    a[i].mutable_grad() = torch::randn_like(a[i].detach());
    b[i].mutable_grad() = a[i].grad().clone();
  }
}

template <class Ours, class Theirs>
void same_steps(Ours& ours, Theirs& theirs, const Tensors& a, const Tensors& b, int steps = 20) {
  for (int i = 0; i < steps; ++i) {
    random_gradients(a, b);
    ours.step();
    theirs.step();
  }
  CHECK(support::distance(a, b) < kExact);
}

torch::optim::AdamWOptions adamw(double lr) {
  return torch::optim::AdamWOptions(lr);
}

template <class From, class To>
void through_archive(const From& from, To& to) {
  std::stringstream stream;
  torch::serialize::OutputArchive out;
  from.save(out);
  out.save_to(stream);
  torch::serialize::InputArchive in;
  in.load_from(stream);
  to.load(in);
}

// Ours and LibTorch's take the other's place half-way, through a file.
template <class Ours, class Theirs>
void exchange(Ours make_ours(const Tensors&), Theirs make_theirs(const Tensors&)) {
  torch::manual_seed(3);
  const Tensors a{parameter({3, 5}), parameter({7})}, b = copies(a);
  auto ours = make_ours(a);
  auto theirs = make_theirs(b);
  same_steps(ours, theirs, a, b, 5);
  auto ours_loaded = make_ours(b);
  auto theirs_loaded = make_theirs(a);
  through_archive(theirs, ours_loaded);
  through_archive(ours, theirs_loaded);
  same_steps(ours_loaded, theirs_loaded, b, a, 5);
  // And from a file of its own.
  auto ours_again = make_ours(b);
  through_archive(ours_loaded, ours_again);
  same_steps(ours_again, theirs_loaded, b, a, 5);
}

}  // namespace

TEST_CASE("fused optimizers train as LibTorch's do") {
  const auto train = [](auto make) {
    auto net = support::with_seed(1, [] {
      support::MLP net;
      net->to(torch::kDouble);
      return net;
    });
    auto optimizer = make(net->parameters());
    torch::manual_seed(2);
    const auto x = torch::randn({16, 6}, torch::kDouble);
    for (int i = 0; i < 30; ++i) {
      optimizer.zero_grad();
      net->forward(x).square().mean().backward();
      optimizer.step();
    }
    return copies(net->parameters());
  };
  using namespace torch::optim;
  CHECK(support::distance(
            train([](auto p) { return FusedAdamW(p, {.lr = 0.01, .amsgrad = true}); }),
            train([](auto p) { return AdamW(p, AdamWOptions(0.01).amsgrad(true)); })) < kExact);
  CHECK(support::distance(
            train([](auto p) { return fabric::FusedAdam(p, {.lr = 0.01, .weight_decay = 0.1}); }),
            train([](auto p) { return Adam(p, AdamOptions(0.01).weight_decay(0.1)); })) < kExact);
  CHECK(support::distance(
            train([](auto p) { return fabric::FusedSGD(p, {.lr = 0.1, .momentum = 0.9}); }),
            train([](auto p) { return SGD(p, SGDOptions(0.1).momentum(0.9)); })) < kExact);
  CHECK(support::distance(
            train([](auto p) { return fabric::FusedAdagrad(p, {.lr = 0.1, .lr_decay = 0.01}); }),
            train([](auto p) { return Adagrad(p, AdagradOptions(0.1).lr_decay(0.01)); })) < kExact);
}

TEST_CASE("parameters of any size, on one thread and on several") {
  const int threads = torch::get_num_threads();
  for (const int used : {1, 3}) {
    torch::set_num_threads(used);
    torch::manual_seed(1);
    const Tensors a{parameter({1}),      parameter({7}),  parameter({3, 5}), parameter({257}),
                    parameter({100003}), parameter({50}), parameter({40001})};
    const Tensors b = copies(a);
    const auto empty = parameter({0});
    Tensors all = a;
    all.insert(all.begin() + 2, empty);
    empty.mutable_grad() = torch::zeros({0}, torch::kDouble);
    FusedAdamW ours(all, {.lr = 0.01});
    torch::optim::AdamW theirs(b, adamw(0.01));
    same_steps(ours, theirs, a, b, 3);
    CHECK(ours.state_of(empty).step() == 3);
  }
  torch::set_num_threads(threads);
}

TEST_CASE("float32 differs from LibTorch's by rounding only") {
  const Tensors a{parameter({1000}, torch::kFloat)}, b = copies(a);
  FusedAdamW ours(a, {.lr = 0.01});
  torch::optim::AdamW theirs(b, adamw(0.01));
  for (int i = 0; i < 20; ++i) {
    random_gradients(a, b);
    ours.step();
    theirs.step();
  }
  CHECK(support::distance(a, b) < 1e-5);
}

TEST_CASE("memory in any order") {
  torch::manual_seed(1);
  const auto wide = torch::randn({6, 10}, torch::kDouble);
  const auto image = torch::randn({2, 3, 4, 5}, torch::kDouble);
  const Tensors a{
      torch::randn({4, 6}, torch::kDouble).t().requires_grad_(),
      image.clone().contiguous(torch::MemoryFormat::ChannelsLast).requires_grad_(),
      wide.clone().slice(1, 2, 9, 3).detach().requires_grad_(),  // not dense
  };
  const Tensors b = copies(a);
  FusedAdamW ours(a, {.lr = 0.01});
  torch::optim::AdamW theirs(b, adamw(0.01));
  for (int i = 0; i < 5; ++i) {
    for (std::size_t k = 0; k < a.size(); ++k) {
      const auto gradient = torch::randn(a[k].sizes(), torch::kDouble);
      a[k].mutable_grad() = i == 1 ? gradient.contiguous() : gradient;
      b[k].mutable_grad() = gradient.clone();
    }
    a[0].mutable_grad() = torch::ones({}, torch::kDouble).expand({6, 4});
    b[0].mutable_grad() = torch::ones({6, 4}, torch::kDouble);
    a[1].mutable_grad() = torch::_neg_view(-a[1].grad());
    ours.step();
    theirs.step();
  }
  CHECK(support::distance(a, b) < kExact);
}

TEST_CASE("complex parameters are pairs of real ones") {
  torch::manual_seed(1);
  const Tensors a{torch::randn({5}, torch::kComplexDouble).requires_grad_()};
  const Tensors b{torch::view_as_real(a[0].detach().clone()).clone().requires_grad_()};
  FusedAdamW ours(a, {.lr = 0.01});
  torch::optim::AdamW theirs(b, adamw(0.01));
  for (int i = 0; i < 5; ++i) {
    a[0].mutable_grad() = torch::randn({5}, torch::kComplexDouble);
    b[0].mutable_grad() = torch::view_as_real(a[0].grad()).clone();
    ours.step();
    theirs.step();
  }
  CHECK((torch::view_as_real(a[0]) - b[0]).abs().max().item<double>() < kExact);
}

TEST_CASE("half precision is computed in float, with state of its own dtype") {
  const auto train = [](auto make, torch::Dtype dtype) {
    torch::manual_seed(1);
    const Tensors parameters{torch::randn({64}).to(dtype).requires_grad_(),
                             torch::randn({3, 3}).to(dtype).requires_grad_()};
    auto optimizer = make(parameters);
    for (int i = 0; i < 4; ++i) {
      for (const auto& p : parameters) {
        p.mutable_grad() = torch::randn(p.sizes()).to(dtype);
      }
      optimizer.step();
    }
    Tensors results;
    for (const auto& p : parameters) {
      results.push_back(p.detach().to(torch::kFloat));
    }
    return results;
  };
  const auto near = [&](auto make) {
    const Tensors start = train(
        [&](const Tensors& p) {
          auto optimizer = make(p);
          optimizer.options().lr = 0;
          return optimizer;
        },
        torch::kFloat);
    const Tensors exact = train(make, torch::kFloat), rounded = train(make, torch::kBFloat16);
    CAPTURE(c10::demangle(typeid(make(exact)).name()));
    CHECK(support::distance(start, exact) > 0.15);
    CHECK(support::distance(exact, rounded) < 0.06);
  };
  near([](const Tensors& p) { return FusedAdamW(p, {.lr = 0.1}); });
  near([](const Tensors& p) { return fabric::FusedAdam(p, {.lr = 0.1, .amsgrad = true}); });
  near([](const Tensors& p) { return fabric::FusedSGD(p, {.lr = 0.1, .momentum = 0.9}); });
  near([](const Tensors& p) {
    return fabric::FusedSGD(p, {.lr = 0.1, .momentum = 0.9, .dampening = 0.5});
  });
  near([](const Tensors& p) { return fabric::FusedAdagrad(p, {.lr = 0.1}); });
  near([](const Tensors& p) { return fabric::Lion(p, {.lr = 0.1, .weight_decay = 0.1}); });
}

TEST_CASE("mixed dtypes in a group, and a parameter that is listed twice") {
  torch::manual_seed(1);
  const auto a = parameter({5}), b = parameter({4}, torch::kFloat),
             c = parameter({3}, torch::kBFloat16), d = parameter({6});
  const Tensors ours_list{a, b, c, d, a};
  Tensors others = copies({a, b, c, d});
  others.push_back(others[0]);
  FusedAdamW ours(ours_list, {.lr = 0.01});
  torch::optim::AdamW theirs(others, adamw(0.01));
  for (int i = 0; i < 3; ++i) {
    random_gradients({a, b, c, d}, {others[0], others[1], others[2], others[3]});
    ours.step();
    theirs.step();
  }
  CHECK(support::distance({a, d}, {others[0], others[3]}) < kExact);
  CHECK(support::distance({b}, {others[1]}) < 1e-5);
  CHECK(support::distance({c}, {others[2]}) < 0.02);
  CHECK(ours.state_of(a).step() == 6);
  CHECK(ours.state_of(d).step() == 3);
  CHECK((ours.state_of(c).find("exp_avg")->scalar_type() == torch::kBFloat16));
}

TEST_CASE("a parameter without a gradient is left alone, its step count too") {
  torch::manual_seed(1);
  const Tensors a{parameter({5}), parameter({4})}, b = copies(a);
  FusedAdamW ours(a, {.lr = 0.01});
  torch::optim::AdamW theirs(b, adamw(0.01));
  for (int i = 0; i < 9; ++i) {
    random_gradients(a, b);
    if (i % 3 != 0) {  // frozen most of the time
      a[1].mutable_grad().reset();
      b[1].mutable_grad().reset();
    }
    ours.step();
    theirs.step();
  }
  CHECK(support::distance(a, b) < kExact);
  CHECK(ours.state_of(a[0]).step() == 9);
  CHECK(ours.state_of(a[1]).step() == 3);
}

TEST_CASE("parameters may be moved and converted between steps") {
  torch::manual_seed(1);
  const Tensors a{parameter({5}, torch::kFloat)}, b{a[0].detach().to(torch::kDouble)};
  b[0].requires_grad_();
  FusedAdamW ours(a, {.lr = 0.01});
  torch::optim::AdamW theirs(b, adamw(0.01));
  const auto step = [&] {
    const auto gradient = torch::randn({5}, torch::kDouble);
    a[0].mutable_grad() = gradient.to(a[0].scalar_type());
    b[0].mutable_grad() = gradient;
    ours.step();
    theirs.step();
  };
  step();
  a[0].mutable_grad().reset();
  a[0].set_data(a[0].detach().to(torch::kDouble));  // as Module::to does
  step();
  step();
  CHECK((ours.state_of(a[0]).find("exp_avg")->scalar_type() == torch::kDouble));
  CHECK((a[0] - b[0]).abs().max().item<double>() < 1e-6);
  b[0].detach().copy_(a[0].detach());
  a[0].set_data(a[0].detach().clone());  // other memory
  step();
  CHECK((a[0] - b[0]).abs().max().item<double>() < 1e-6);
  // State that is replaced is seen, also where the allocator gives the same address again.
  *ours.state_of(a[0]).find("exp_avg") = torch::zeros({5}, torch::kDouble);
  *ours.state_of(a[0]).find("exp_avg_sq") = torch::full({5}, 1e12, torch::kDouble);
  const auto before = a[0].detach().clone();
  a[0].mutable_grad() = torch::ones({5}, torch::kDouble);
  ours.options().weight_decay = 0;
  ours.step();
  CHECK((a[0] - before).abs().max().item<double>() < 1e-6);
}

TEST_CASE("groups have options of their own; schedulers set the learning rate") {
  torch::manual_seed(1);
  const Tensors a{parameter({5}), parameter({4}), parameter({3})}, b = copies(a);
  FusedAdamW ours({fabric::parameter_group({a[0]}, fabric::FusedAdamWOptions{.lr = 0.1}),
                   torch::optim::OptimizerParamGroup({a[1]})},
                  {.lr = 0.01});
  // LibTorch's options are understood.
  ours.add_param_group(
      {{a[2]}, std::make_unique<torch::optim::AdamWOptions>(adamw(0.02).weight_decay(0.3))});
  torch::optim::AdamW theirs(
      std::vector<torch::optim::OptimizerParamGroup>{
          {{b[0]}, std::make_unique<torch::optim::AdamWOptions>(adamw(0.1))}, {{b[1]}}},
      adamw(0.01));
  theirs.add_param_group(
      {{b[2]}, std::make_unique<torch::optim::AdamWOptions>(adamw(0.02).weight_decay(0.3))});
  torch::optim::StepLR ours_schedule(ours, 2, 0.5), theirs_schedule(theirs, 2, 0.5);
  for (int i = 0; i < 7; ++i) {
    same_steps(ours, theirs, a, b, 1);
    ours_schedule.step();
    theirs_schedule.step();
  }
  CHECK(ours.options(0).lr == doctest::Approx(0.0125));
  CHECK(ours.options(2).weight_decay == 0.3);

  CHECK_THROWS_AS(FusedAdamW({torch::optim::OptimizerParamGroup(
                      {a[0]}, std::make_unique<torch::optim::SGDOptions>(0.1))}),
                  fabric::MisconfigurationError);
  CHECK_THROWS_AS(FusedAdamW(a, {.lr = -1}), fabric::MisconfigurationError);
  CHECK_THROWS_AS(FusedAdamW(a, {.betas = {0.9, 1}}), fabric::MisconfigurationError);
  CHECK_THROWS_AS(fabric::FusedSGD(a, {.nesterov = true}), fabric::MisconfigurationError);
  ours.add_param_group(fabric::parameter_group({}, fabric::FusedAdamWOptions{.eps = -1}));
  CHECK_THROWS_AS(ours.step(), fabric::MisconfigurationError);
}

TEST_CASE("a learning rate in a tensor") {
  torch::manual_seed(1);
  const Tensors a{parameter({5})}, b = copies(a);
  const auto lr = torch::tensor(0.01, torch::kDouble);
  FusedAdamW ours(a, {.lr_tensor = lr});
  torch::optim::AdamW theirs(b, adamw(0.01));
  same_steps(ours, theirs, a, b, 2);
  lr.fill_(0.1);
  static_cast<torch::optim::AdamWOptions&>(theirs.param_groups()[0].options()).lr(0.1);
  same_steps(ours, theirs, a, b, 2);
  torch::optim::StepLR schedule(ours, 1, 0.5);
  schedule.step();  // LibTorch's first changes nothing
  schedule.step();
  CHECK(lr.item<double>() == doctest::Approx(0.05));
}

TEST_CASE("files of LibTorch's optimizers load, and the other way round") {
  using namespace torch::optim;
  exchange<FusedAdamW, AdamW>(
      [](const Tensors& p) { return FusedAdamW(p, {.lr = 0.01, .amsgrad = true}); },
      [](const Tensors& p) { return AdamW(p, AdamWOptions(0.01).amsgrad(true)); });
  exchange<fabric::FusedAdam, Adam>(
      [](const Tensors& p) {
        return fabric::FusedAdam(p, {.lr = 0.01, .betas = {0.8, 0.9}});
      },
      [](const Tensors& p) {
        return Adam(p, AdamOptions(0.01).betas({0.8, 0.9}));
      });
  exchange<fabric::FusedSGD, SGD>(
      [](const Tensors& p) { return fabric::FusedSGD(p, {.lr = 0.01, .momentum = 0.9}); },
      [](const Tensors& p) { return SGD(p, SGDOptions(0.01).momentum(0.9)); });
  exchange<fabric::FusedSGD, SGD>(
      [](const Tensors& p) { return fabric::FusedSGD(p, {.lr = 0.01}); },
      [](const Tensors& p) { return SGD(p, SGDOptions(0.01)); });
  exchange<fabric::FusedAdagrad, Adagrad>(
      [](const Tensors& p) { return fabric::FusedAdagrad(p, {.lr = 0.1, .lr_decay = 0.1}); },
      [](const Tensors& p) { return Adagrad(p, AdagradOptions(0.1).lr_decay(0.1)); });
}

TEST_CASE("options and state of Lion survive a file; state has Python's names") {
  const Tensors a{parameter({5})};
  fabric::Lion optimizer(a,
                         {.lr = 0.02, .betas = {0.8, 0.9}, .weight_decay = 0.5, .maximize = true});
  a[0].mutable_grad() = torch::ones({5}, torch::kDouble);
  optimizer.step();
  fabric::Lion loaded(a);
  through_archive(optimizer, loaded);
  CHECK(loaded.options().lr == 0.02);
  CHECK(loaded.options().betas.second == 0.9);
  CHECK(loaded.options().weight_decay == 0.5);
  CHECK(loaded.options().maximize);
  CHECK(torch::equal(*loaded.state_of(a[0]).find("exp_avg"),
                     *optimizer.state_of(a[0]).find("exp_avg")));

  FusedAdamW adam(a, {.amsgrad = true});
  adam.step();
  std::vector<std::string> names;
  for (const auto& [name, tensor] : adam.state_of(a[0]).named_tensors()) {
    names.push_back(name);
  }
  CHECK((names == std::vector<std::string>{"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"}));
  CHECK(adam.state_of(a[0]).named_tensors()[0].tensor.item<float>() == 1);
  CHECK(adam.state_of(a[0]).find("momentum_buffer") == nullptr);
}

TEST_CASE("fuse takes groups, options and state of LibTorch's optimizer") {
  torch::manual_seed(1);
  const Tensors a{parameter({5}), parameter({4})}, b = copies(a);
  torch::optim::AdamW theirs(
      std::vector<torch::optim::OptimizerParamGroup>{
          {{b[0]}, std::make_unique<torch::optim::AdamWOptions>(adamw(0.1).amsgrad(true))},
          {{b[1]}}},
      adamw(0.01));
  torch::optim::AdamW before(
      std::vector<torch::optim::OptimizerParamGroup>{
          {{a[0]}, std::make_unique<torch::optim::AdamWOptions>(adamw(0.1).amsgrad(true))},
          {{a[1]}}},
      adamw(0.01));
  same_steps(before, theirs, a, b, 5);

  const Tensors c = copies(b);
  auto copied = fabric::fuse(before);  // state of its own
  CHECK(copied.options(0).amsgrad);
  CHECK(copied.options(1).lr == 0.01);
  const auto* state = static_cast<const torch::optim::AdamWParamState*>(
      before.state()[a[0].unsafeGetTensorImpl()].get());
  const torch::Tensor mean = state->exp_avg();
  CHECK_FALSE(mean.is_same(*copied.state_of(a[0]).find("exp_avg")));
  auto fused = fabric::fuse(std::move(before));
  CHECK(mean.is_same(*fused.state_of(a[0]).find("exp_avg")));
  same_steps(fused, theirs, a, b, 5);

  // By the base class.
  torch::optim::SGD sgd(a, torch::optim::SGDOptions(0.1).momentum(0.9).nesterov(true));
  const torch::optim::Optimizer& unknown = sgd;
  const auto made = fabric::fuse(unknown);
  const auto* fused_sgd = dynamic_cast<fabric::FusedSGD*>(made.get());
  REQUIRE(fused_sgd != nullptr);
  CHECK(const_cast<fabric::FusedSGD*>(fused_sgd)->options().nesterov);
  torch::optim::Adagrad adagrad(
      a, torch::optim::AdagradOptions(0.1).lr_decay(0.1).initial_accumulator_value(0.5));
  torch::optim::Adagrad adagrad_again(
      b, torch::optim::AdagradOptions(0.1).lr_decay(0.1).initial_accumulator_value(0.5));
  auto fused_adagrad = fabric::fuse(adagrad);
  same_steps(fused_adagrad, adagrad_again, a, b, 5);
  torch::optim::RMSprop rmsprop(a, torch::optim::RMSpropOptions(0.1));
  CHECK_THROWS_WITH_AS(fabric::fuse(rmsprop), doctest::Contains("RMSprop"),
                       fabric::MisconfigurationError);
}

TEST_CASE("a scaled gradient is unscaled, a step with infinities is not made") {
  torch::manual_seed(1);
  const auto check = [](auto make, torch::Dtype dtype, double tolerance) {
    Tensors a{torch::randn({40}).to(dtype).requires_grad_()}, b = copies(a);
    auto scaled = make(a), plain = make(b);
    const auto scale = torch::tensor(1024.0f), none = torch::tensor(0.0f);
    for (int i = 0; i < 6; ++i) {
      random_gradients(a, b);
      a[0].mutable_grad() *= 1024;
      if (i % 3 == 2) {
        const auto before = a[0].detach().clone();
        a[0].mutable_grad().fill_(INFINITY);
        scaled.set_grad_scale(scale, torch::tensor(1.0f));
        const auto steps = scaled.state_of(a[0]).step();
        scaled.step();
        CHECK(torch::equal(a[0], before));
        CHECK(scaled.state_of(a[0]).step() == steps);
        continue;
      }
      scaled.set_grad_scale(scale, none);
      scaled.step();
      plain.step();
    }
    CHECK((a[0] - b[0]).abs().max().template item<double>() <= tolerance);
    random_gradients(a, b);  // the scale was for one step
    scaled.step();
    plain.step();
    CHECK((a[0] - b[0]).abs().max().template item<double>() <= tolerance);
  };
  for (const auto dtype : {torch::kDouble, torch::kBFloat16}) {
    const double tolerance = dtype == torch::kDouble ? kExact : 0.04;
    check([](const Tensors& p) { return FusedAdamW(p, {.lr = 0.01}); }, dtype, tolerance);
    check([](const Tensors& p) { return fabric::FusedAdam(p, {.lr = 0.01}); }, dtype, tolerance);
    check([](const Tensors& p) { return fabric::FusedSGD(p, {.lr = 0.01, .momentum = 0.9}); },
          dtype, tolerance);
    check([](const Tensors& p) { return fabric::FusedAdagrad(p, {.lr = 0.01}); }, dtype, tolerance);
    check([](const Tensors& p) { return fabric::Lion(p, {.lr = 0.01}); }, dtype, tolerance);
  }
}

TEST_CASE("a sparse gradient is an error, and the step was not made") {
  const Tensors a{parameter({4, 2}), parameter({4, 2})};
  FusedAdamW optimizer(a);
  a[0].mutable_grad() = torch::ones({4, 2}, torch::kDouble);
  a[1].mutable_grad() = torch::ones({4, 2}, torch::kDouble).to_sparse();
  const auto before = a[0].detach().clone();
  CHECK_THROWS_WITH_AS(optimizer.step(), doctest::Contains("torch::optim::SGD"),
                       fabric::MisconfigurationError);
  CHECK(torch::equal(a[0], before));
  CHECK(optimizer.state_of(a[0]).step() == 0);
  a[1].mutable_grad() = torch::ones({4, 2}, torch::kDouble);
  optimizer.step();
  CHECK(optimizer.state_of(a[0]).step() == 1);
}

TEST_CASE("a backward through values of before the step is noticed") {
  const auto w = parameter({3});
  FusedAdamW optimizer(Tensors{w});
  const auto loss = w.square().sum();
  w.mutable_grad() = torch::ones({3}, torch::kDouble);
  optimizer.step();
  CHECK_THROWS_WITH(loss.backward(), doctest::Contains("inplace"));
}

TEST_CASE("closures run with gradients; inference mode elsewhere does not hurt") {
  const auto w = parameter({3});
  fabric::FusedSGD optimizer(Tensors{w}, {.lr = 0.1, .momentum = 0.5});
  const auto expected = (w - 0.1 * 2 * w).detach().clone();
  const at::NoGradGuard no_grad;
  const auto loss = optimizer.step([&] {
    optimizer.zero_grad();
    auto loss = w.square().sum();
    loss.backward();
    return loss;
  });
  CHECK(loss.defined());
  CHECK((w - expected).abs().max().item<double>() < kExact);
}

TEST_CASE("decay_groups splits by dimension or by name") {
  support::MLP net;
  FusedAdamW optimizer(fabric::decay_groups(net, {.lr = 0.5, .weight_decay = 0.1}));
  REQUIRE(optimizer.param_groups().size() == 2);
  CHECK(optimizer.param_groups()[0].params().size() == 3);
  CHECK(optimizer.param_groups()[0].params()[0].is_same(net->first->weight));
  CHECK(optimizer.options(0).weight_decay == 0.1);
  CHECK(optimizer.options(1).weight_decay == 0);
  CHECK(optimizer.options(1).lr == 0.5);
  const auto by_name = fabric::decay_groups(
      *net, fabric::LionOptions{.weight_decay = 1},
      [](const std::string& name, const auto&) { return name == "third.weight"; });
  REQUIRE(by_name.size() == 2);
  CHECK(by_name[0].params().size() == 1);
  CHECK(fabric::decay_groups(net, {}, [](const auto&, const auto&) { return true; }).size() == 1);
}

TEST_CASE("setup_optimizers takes them as any other") {
  fabric::Fabric fabric({.accelerator = "cpu", .devices = 1});
  fabric.launch();
  auto net = support::with_seed(1, [] { return support::MLP(); });
  auto reference = support::with_seed(1, [] { return support::MLP(); });
  auto model = fabric.setup(net);
  auto optimizer = fabric.setup_optimizers(FusedAdamW(net->parameters(), {.lr = 0.01}));
  torch::optim::AdamW plain(reference->parameters(), adamw(0.01));
  const auto x = torch::randn({8, 6});
  for (int i = 0; i < 5; ++i) {
    optimizer.zero_grad();
    fabric.backward(model->forward(x).square().mean());
    optimizer.step();
    plain.zero_grad();
    reference->forward(x).square().mean().backward();
    plain.step();
  }
  CHECK(support::distance(net->parameters(), reference->parameters()) < 1e-5);
}
